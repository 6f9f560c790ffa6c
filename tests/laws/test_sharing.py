"""Blocks that share weights: what is shared is one thing, wherever the network is run, copied, cut or kept."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from vitesse.arch import (
    MLP,
    Attention,
    Backbone,
    Block,
    Choice,
    Head,
    HeadMix,
    LocalMix,
    PatchEmbed,
    RelativePosition,
    Stage,
    largest,
    parameters,
    resolve,
)
from vitesse.nets import Network, build
from vitesse.saved import load_network, save_network
from vitesse.supernet import Supernet, inherit
from vitesse.weights.reorder import importance, most_important_first, reorder
from vitesse.weights.sharing import untied

QKV = "stages.0.blocks.{}.0.op.qkv.weight"


def arch(share: int | str, **changes: Any) -> Backbone:
    attention = Attention(
        heads=2, head_dim=8, layer_scale=True, qk_norm=True, position=RelativePosition(reach=2), mix=HeadMix(bias=True)
    )
    stage: dict[str, Any] = {"dim": 16, "depth": 4, "share": share}
    stage["block"] = Block(attention, LocalMix(kernel=3), MLP(ratio=2.0))
    return Backbone(
        stem=PatchEmbed(image=(16, 24), patch=(8, 4)),
        stages=(Stage(**(stage | changes)),),
        head=Head(classes=5),
    )


def network(value: Backbone) -> Network:
    torch.manual_seed(0)
    made = build(value).double().eval()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    return made


@pytest.fixture(params=[("norm", "position"), ("norm",), ()], ids=str)
def shared(request: pytest.FixtureRequest) -> Network:
    return network(arch(2, own=request.param))


def plain_twin(shared: Network) -> Network:
    """The same weights in a network whose blocks share nothing."""
    twin = network(arch(1))
    twin.load_state_dict(untied(shared.state_dict(), shared.arch))
    return twin


def test_sharing_is_equal_weights(shared: Network, images: Tensor) -> None:
    torch.testing.assert_close(shared(images), plain_twin(shared)(images), rtol=0, atol=1e-12)


def test_a_group_of_one_is_the_plain_network(images: Tensor) -> None:
    assert arch(1, own=()) == arch(1)
    assert {name for name, _ in network(arch(1)).named_parameters()} == set(parameters(arch(1)))


def test_gradients_of_what_is_shared_add_up(shared: Network, images: Tensor) -> None:
    twin = plain_twin(shared)
    for one in (shared, twin):
        one(images).square().sum().backward()
    apart = {name: p.grad for name, p in twin.named_parameters()}
    total = {name: torch.zeros_like(p) for name, p in shared.named_parameters()}
    for name, gradient in apart.items():
        assert gradient is not None
        total[name if name in total else name.replace("blocks.1", "blocks.0").replace("blocks.3", "blocks.2")] += (
            gradient
        )
    for name, parameter in shared.named_parameters():
        torch.testing.assert_close(parameter.grad, total[name], rtol=1e-9, atol=1e-9, msg=name)


def test_each_tensor_has_one_name(shared: Network) -> None:
    names = set(parameters(shared.arch))
    assert {name for name, _ in shared.named_parameters(remove_duplicate=False)} == names
    assert set(shared.state_dict()) == names and QKV.format(1) not in names


def test_copies_keep_what_is_shared(shared: Network, images: Tensor) -> None:
    """A deep copy, averaged weights, another type: whatever moves the first block's weights moves the second block."""
    before = shared(images).detach()
    ema = ModelEmaV3(shared, decay=0.5).module
    for twin in (copy.deepcopy(shared), ema, copy.deepcopy(shared).float().double()):
        torch.testing.assert_close(twin(images), before, rtol=1e-3, atol=1e-3)
        assert sum(p.numel() for p in twin.parameters()) == sum(p.numel() for p in shared.parameters())
        with torch.no_grad():
            twin.get_parameter(QKV.format(0)).zero_()
        expected = network(arch(1))
        expected.load_state_dict(untied(twin.state_dict(), twin.arch))
        assert not expected.get_parameter(QKV.format(1)).any()
        torch.testing.assert_close(twin(images), expected(images), rtol=0, atol=1e-12)
    assert torch.equal(shared(images), before)


def test_a_file_holds_it_once(shared: Network, images: Tensor, tmp_path: Path) -> None:
    save_network(shared, tmp_path / "model.safetensors")
    assert set(load_file(tmp_path / "model.safetensors")) == set(parameters(shared.arch))
    loaded = load_network(tmp_path).double()
    torch.testing.assert_close(loaded(images), shared(images), rtol=1e-5, atol=1e-5)
    assert len(list(loaded.parameters())) == len(list(shared.parameters()))
    plain = plain_twin(shared)
    save_network(plain, tmp_path / "plain.safetensors")
    ratio = (tmp_path / "model.safetensors").stat().st_size / (tmp_path / "plain.safetensors").stat().st_size
    assert ratio < 0.75


def test_reordering_changes_nothing(shared: Network, images: Tensor) -> None:
    before = shared(images)
    before.square().sum().backward()
    state = {name: p.detach() for name, p in shared.named_parameters()}
    gradients = {name: p.grad for name, p in shared.named_parameters() if p.grad is not None}
    shapes = parameters(shared.arch)
    order = most_important_first(importance(state, shapes, gradients))
    assert "stages.0.blocks.0.0.heads" in order and "stages.0.blocks.1.0.heads" not in order
    moved = reorder(state, shapes, order)
    assert not torch.equal(moved[QKV.format(0)], state[QKV.format(0)])
    other = network(shared.arch)
    other.load_state_dict(moved)
    torch.testing.assert_close(other(images), before, rtol=0, atol=1e-10)


SPACE = arch(
    Choice(1, 2, 3, "all"),
    depth=Choice(3, 4, 6),
    dim=Choice(8, 16),
    block=Block(
        Attention(heads=Choice(1, 2), head_dim=8, mix=Choice(None, HeadMix()), position=RelativePosition(reach=2)),
        MLP(ratio=Choice(1.0, 2.0)),
    ),
)


def test_every_subnet_is_its_extraction(images: Tensor) -> None:
    """One with each number of blocks that share, largest and smallest otherwise, from one supernet."""
    torch.manual_seed(0)
    supernet = Supernet(SPACE).double().eval()
    for parameter in supernet.parameters():
        nn.init.normal_(parameter, std=0.3)
    seen = set()
    for end in (0, -1):
        for depth in (3, 4, 6):
            for share in (1, 2, 3, depth):
                if depth % share:
                    continue
                wanted = {"stages.0.depth": depth, "stages.0.share": share}
                subnet = resolve(
                    SPACE, lambda path, choice, wanted=wanted, end=end: wanted.get(path, choice.ordered[end])
                )
                small = inherit(supernet.network, subnet)
                torch.testing.assert_close(supernet(images, subnet), small(images), rtol=0, atol=1e-12)
                torch.testing.assert_close(small(images), plain_of(small)(images), rtol=0, atol=1e-12)
                seen.add(small.arch)
    assert len(seen) == 2 * (2 + 3 + 4)


def plain_of(small: Network) -> Network:
    value = small.arch
    value = replace(value, stages=(replace(value.stages[0], share=1),))
    twin = build(value).double().eval()
    twin.load_state_dict(untied(small.state_dict(), small.arch))
    return twin


def test_gradients_reach_the_first_block_of_a_group_alone(images: Tensor) -> None:
    supernet = Supernet(SPACE).double()
    subnet = resolve(
        SPACE, lambda path, choice: {"stages.0.depth": 4, "stages.0.share": 2}.get(path, choice.ordered[-1])
    )
    supernet(images, subnet).square().sum().backward()
    held = {name.removeprefix("network."): p for name, p in supernet.named_parameters()}
    assert {name for name, p in held.items() if p.grad is not None} == set(parameters(subnet))


def test_the_supernet_holds_what_its_largest_alone_does_not() -> None:
    """Groups of two and of three begin at different blocks: the supernet has weights for all of them."""
    value = arch(Choice(2, 3), depth=6)
    assert largest(value).stages[0].share == 2
    supernet = Supernet(value)
    assert supernet.host.stages[0].share == 1
    for share in (2, 3):
        inherit(supernet.network, replace(value, stages=(replace(value.stages[0], share=share),)))
    assert Supernet(arch("all", depth=Choice(2, 4))).host.stages[0].share == 4
