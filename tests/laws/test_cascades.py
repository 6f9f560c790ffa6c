"""The laws hold for networks whose heads see a part of the channels each, one after the other."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest
import torch
from tests.laws.conftest import randomized
from torch import Tensor

from vitesse.arch import (
    Backbone,
    BatchNorm,
    Block,
    CascadedAttention,
    Choice,
    ConvMLP,
    ConvStem,
    Head,
    LocalConv,
    SandwichDownsample,
    Stage,
    buffers,
    contains,
    largest,
    parameters,
    sample,
    smallest,
    tensors,
)
from vitesse.errors import VitesseError
from vitesse.nets import build
from vitesse.nets.statistics import recalibrate
from vitesse.supernet import Supernet, inherit
from vitesse.weights.reorder import importance, most_important_first, reorder
from vitesse.weights.slice import lengths

LOCAL = LocalConv(residual=True, kernel=Choice(1, 3))


def space(*, dim: Any, groups: int, **attention: Any) -> Backbone:
    cascade = CascadedAttention(key_dim=Choice(2, 4), window=Choice(2, 3), **attention)
    block = Block(LOCAL, ConvMLP(ratio=Choice(1.0, 2.0)), cascade, LOCAL, ConvMLP(ratio=1.5))
    stage: dict[str, Any] = {"dim": dim, "depth": Choice(1, 2), "block": block, "channel_groups": groups}
    down = SandwichDownsample(ratio=Choice(2.0, 3.0), mlp_ratio=Choice(1.0, 2.0))
    return Backbone(
        stem=ConvStem(image=(20, 28), act="relu"),
        stages=(Stage(**stage), Stage(**stage, down=down)),
        head=Head(classes=5, pool="mean_distilled", norm=BatchNorm(), norm_first=False),
    )


SHARED = Stage(
    dim=8,
    depth=2,
    share=2,
    channel_groups=2,
    block=Block(CascadedAttention(heads=2, kernels=(3, 3), key_dim=2), ConvMLP()),
)
SPACES = {
    "groups": space(dim=Choice(8, 12), groups=2, heads=2, kernels=(Choice(3, 5), 1)),
    "open heads": space(dim=Choice(12, 24), groups=1, heads=Choice(2, 3), kernels=Choice((1, 3, 5), (5, 3, 1))),
}


@pytest.fixture(params=SPACES)
def open_space(request: pytest.FixtureRequest) -> Backbone:
    return SPACES[request.param]


def supernet_of(one: Backbone) -> Supernet:
    return randomized(Supernet(one))


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(3, 3, 20, 28, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("seed", range(4))
def test_the_extracted_network_equals_the_slice(open_space: Backbone, images: Tensor, seed: int) -> None:
    supernet, arch = supernet_of(open_space), sample(open_space, random.Random(seed))
    assert contains(open_space, arch)
    extracted = inherit(supernet.network, arch)
    torch.testing.assert_close(extracted(images), supernet(images, arch), rtol=0, atol=1e-10)
    extracted(images).square().sum().backward()
    supernet(images, arch).square().sum().backward()
    inside = sum(float(weight.grad.abs().sum()) for weight in extracted.parameters())  # type: ignore[union-attr]
    whole = sum(float(weight.grad.abs().sum()) for weight in supernet.parameters() if weight.grad is not None)
    assert whole == pytest.approx(inside, rel=1e-9)


def test_a_host_has_room_for_every_cascade() -> None:
    grouped, free = SPACES.values()
    assert Supernet(grouped).host == largest(grouped)
    host = Supernet(free).host.stages[0]
    attention = host.blocks[0].branches[2]
    assert isinstance(attention, CascadedAttention)
    assert (attention.heads, attention.kernels, host.dim) == (3, (5, 3, 5), 36)  # 24 channels of 2 heads are 12 each


def test_all_by_importance_changes_nothing(open_space: Backbone, images: Tensor) -> None:
    supernet = supernet_of(open_space)
    network, shapes = supernet.network, parameters(supernet.host)
    before, state = network(images), network.state_dict()
    order = most_important_first(importance(state, shapes))
    moved = {name.rpartition(".")[2] for name, one in order.items() if one.tolist() != sorted(one.tolist())}
    assert moved == ({"hidden", "channel"} if open_space.stages[0].channel_groups > 1 else {"hidden"})
    network.load_state_dict(reorder(state, shapes | buffers(supernet.host), order))
    torch.testing.assert_close(network(images), before, rtol=0, atol=1e-9)


def test_channels_that_heads_part_by_place_cannot_be_reordered() -> None:
    supernet = supernet_of(SPACES["open heads"])
    shapes, order = parameters(supernet.host), {"stages.0.embed": torch.arange(36)}
    with pytest.raises(VitesseError, match="see a part of the channels each"):
        reorder(supernet.network.state_dict(), shapes, order)


def test_each_head_keeps_the_first_of_its_own_channels() -> None:
    wide, arch = supernet_of(SPACES["groups"]).network, largest(SPACES["groups"])
    stages = tuple(dataclasses.replace(stage, dim=8) for stage in arch.stages)
    big, small = wide.state_dict(), inherit(wide, dataclasses.replace(arch, stages=stages)).state_dict()
    block, kept = "stages.0.blocks.0", [0, 1, 2, 3, 6, 7, 8, 9]
    name = f"{block}.0.op.depthwise.conv.weight"
    assert torch.equal(small[name], big[name][kept])
    name = f"{block}.2.op.proj.conv.weight"
    assert torch.equal(small[name], big[name][kept][:, kept])
    name = f"{block}.2.op.heads.1.query_key.conv.weight"
    assert torch.equal(small[name], big[name][:, :4])
    name = "stages.1.down.expand.conv.weight"
    assert torch.equal(small[name], big[name][:24][:, kept])


def test_training_writes_statistics_through_the_slice(open_space: Backbone, images: Tensor) -> None:
    supernet, arch = supernet_of(open_space), smallest(open_space)
    before = {name: buffer.clone() for name, buffer in supernet.network.named_buffers()}
    alone = inherit(supernet.network, arch).train()
    alone(images)
    supernet.train()(images, arch)
    held = supernet.network.state_dict()
    after = inherit(supernet.network, arch)
    for name, buffer in alone.named_buffers():
        torch.testing.assert_close(after.state_dict()[name], buffer, rtol=0, atol=1e-12)
    name = "stages.0.blocks.0.0.op.depthwise.norm.running_mean"
    moved = (held[name] != before[name]).sum()
    assert moved == arch.stages[0].dim < len(before[name])


def test_a_subnet_gathers_statistics_of_its_own(open_space: Backbone, images: Tensor) -> None:
    supernet, arch = supernet_of(open_space), smallest(open_space)
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    own = supernet.statistics(arch, [images, images.flip(0) * 2])
    extracted = inherit(supernet.network, arch)
    recalibrate(extracted, [images, images.flip(0) * 2])
    torch.testing.assert_close(supernet(images, arch, statistics=own), extracted(images), rtol=0, atol=1e-10)
    assert all(torch.equal(tensor, before[name]) for name, tensor in supernet.state_dict().items())


def test_blocks_may_share_a_cascade(images: Tensor) -> None:
    """Each keeps its norms, with their statistics, and its table of biases; all else is the first one's."""
    head = Head(classes=5, pool="mean", norm=None)
    shared = build(Backbone(stem=ConvStem(image=(20, 28)), stages=(SHARED,), head=head)).double()
    own = {name for name, _ in shared.named_parameters() if ".blocks.1." in name}
    assert own and all(name.endswith(("norm.weight", "norm.bias", "offset_bias")) for name in own)
    assert {name: tuple(one.shape) for name, one in shared.state_dict().items()} == {
        name: lengths(shape) for name, shape in tensors(shared.arch).items()
    }
    shared(images).square().sum().backward()
    assert all(parameter.grad is not None for parameter in shared.parameters())
