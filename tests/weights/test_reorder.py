from __future__ import annotations

from typing import Any

import pytest
import torch

from vitesse.arch import (
    MLP,
    Attention,
    Backbone,
    Block,
    Head,
    PatchEmbed,
    RelativePosition,
    Stage,
    parameters,
)
from vitesse.errors import VitesseError
from vitesse.nets import Network, build
from vitesse.weights.reorder import importance, most_important_first, reorder
from vitesse.weights.slice import slice_state

HEADS, HIDDEN, EMBED = "stages.0.blocks.0.0.heads", "stages.0.blocks.1.1.hidden", "stages.0.embed"


def arch_of(heads: int = 3, ratio: float = 2.0, **attention: Any) -> Backbone:
    mixer = Attention(heads=heads, head_dim=4, position=RelativePosition(reach=2), **attention)
    block = Block(mixer, MLP(ratio=ratio, layer_scale=True))
    stem = PatchEmbed(image=32, patch=8, tokens=("class", "distillation"))
    return Backbone(stem=stem, stages=(Stage(dim=8, depth=2, block=block),), head=Head(classes=5, pool="distilled"))


def network_of(arch: Backbone) -> Network:
    network = build(arch).double().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.5)
    return network


def logits(network: Network) -> torch.Tensor:
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return network(images)


ARCH = arch_of(qk_norm=True, layer_scale=True)
FREE = sorted(
    {a.name for s in parameters(ARCH).values() for d in s for a in d if a.kind in ("heads", "hidden", "embed")}
)


@pytest.mark.parametrize("axis", FREE)
def test_a_permutation_changes_nothing_in_the_outputs(axis: str) -> None:
    network, shapes = network_of(ARCH), parameters(ARCH)
    scores = importance(network.state_dict(), shapes)
    order = torch.randperm(len(scores[axis]), generator=torch.Generator().manual_seed(3))
    moved = reorder(network.state_dict(), shapes, {axis: order})
    before = logits(network)
    changed = [name for name, tensor in moved.items() if not torch.equal(tensor, network.state_dict()[name])]
    assert {name for name, shape in shapes.items() if any(a.name == axis for d in shape for a in d)} == set(changed)
    network.load_state_dict(moved)
    assert torch.allclose(logits(network), before, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("with_gradients", [True, False])
def test_afterwards_the_most_important_come_first(with_gradients: bool) -> None:
    network, shapes = network_of(ARCH), parameters(ARCH)
    gradients = None
    if with_gradients:
        logits(network).square().sum().backward()
        gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    scores = importance(network.state_dict(), shapes, gradients)
    assert sorted(scores) == FREE
    order = most_important_first(scores)
    moved = reorder(network.state_dict(), shapes, order)
    moved_gradients = None if gradients is None else reorder(gradients, shapes, order)
    for axis, found in importance(moved, shapes, moved_gradients).items():
        assert torch.allclose(found, scores[axis].sort(descending=True).values), axis


def test_importance_is_the_first_order_change_of_the_loss() -> None:
    """Taking a hidden unit's share away by a small step changes the loss by that much of its score."""
    network, shapes = network_of(ARCH), parameters(ARCH)
    loss = logits(network).square().sum()
    loss.backward()
    gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    score = importance(network.state_dict(), shapes, gradients)[HIDDEN][2].item()
    step, prefix = 1e-6, "stages.0.blocks.1.1.op."
    with torch.no_grad():
        for name, index in ((prefix + "fc1.weight", 2), (prefix + "fc1.bias", 2), (prefix + "fc2.weight", (..., 2))):
            network.get_parameter(name)[index] *= 1 - step
    assert abs(logits(network).square().sum().item() - loss.item()) / step == pytest.approx(score, rel=1e-3)


def test_a_slice_after_reordering_keeps_the_best_heads() -> None:
    network, shapes = network_of(ARCH), parameters(ARCH)
    name = "stages.0.blocks.0.0.op.proj.weight"
    weight = network.state_dict()[name].unflatten(1, (3, 4))
    order = torch.tensor([2, 0, 1])
    moved = reorder(network.state_dict(), shapes, {HEADS: order})
    small = slice_state(moved, shapes, parameters(arch_of(heads=2, qk_norm=True, layer_scale=True)))
    assert torch.equal(small[name].unflatten(1, (2, 4)), weight[:, [2, 0]])


def test_what_the_table_does_not_name_stays() -> None:
    network, shapes = network_of(ARCH), parameters(ARCH)
    extra = torch.arange(3)
    moved = reorder({**network.state_dict(), "buffer": extra}, shapes, {HEADS: torch.tensor([2, 1, 0])})
    assert moved["buffer"] is extra


def test_heads_of_a_packed_bias_stay_where_they_are() -> None:
    arch = arch_of(bias="packed")
    network, shapes = network_of(arch), parameters(arch)
    assert not [axis for axis in importance(network.state_dict(), shapes) if axis.endswith("heads")]
    with pytest.raises(VitesseError, match=f'{HEADS} cannot be reordered: the bias of its attention is "packed"'):
        reorder(network.state_dict(), shapes, {HEADS: torch.tensor([1, 0, 2])})


@pytest.mark.parametrize(
    ("axis", "order", "message"),
    [
        ("stages.0.blocks.0.0.head_dim", [0, 1, 2, 3], "only channel, embed, heads, hidden"),
        ("stages.9.embed", [0], "no such axis"),
        (HEADS, [0, 0, 1], "each of its 3 entries once"),
        (HEADS, [0, 1], "each of its 3 entries once"),
    ],
)
def test_orders_that_mean_nothing_are_refused(axis: str, order: list[int], message: str) -> None:
    network = network_of(ARCH)
    with pytest.raises(VitesseError, match=message):
        reorder(network.state_dict(), parameters(ARCH), {axis: torch.tensor(order)})


def test_missing_and_misshapen_weights_are_named() -> None:
    state, shapes = network_of(ARCH).state_dict(), parameters(ARCH)
    with pytest.raises(VitesseError, match=r"stem\.position must have the shape"):
        importance({**state, "stem.position": torch.zeros(2)}, shapes)
    del state["stem.position"]
    with pytest.raises(VitesseError, match=r"stem\.position is missing"):
        importance(state, shapes)
