"""The laws hold for networks of shifted windows, whatever tells their offsets apart and whatever their blocks share."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.laws.conftest import randomized
from torch import Tensor

from vitesse.arch import (
    MLP,
    Backbone,
    Block,
    Choice,
    ContinuousPosition,
    Head,
    HeadMix,
    ImageRelativePosition,
    LayerNorm,
    LocalTransform,
    OffsetTable,
    PatchEmbed,
    PatchMerging,
    ShiftedWindowAttention,
    Stage,
    largest,
    parameters,
    sample,
    smallest,
)
from vitesse.supernet import Supernet, inherit
from vitesse.weights.reorder import importance, most_important_first, reorder

IRPE = ImageRelativePosition(extra=False, on="qkv", shared=False)


def space(*, post_norm: bool = False, between: tuple[Any, ...] = (), share: int = 1, **attention: Any) -> Backbone:
    block = Block(
        ShiftedWindowAttention(
            heads=Choice(1, 2, 3),
            head_dim=Choice(4, 8),
            window=Choice(2, 3, 4),
            post_norm=post_norm,
            **attention,
        ),
        *between,
        MLP(ratio=Choice(1.0, 1.75, 2.0), post_norm=post_norm),
    )
    both: dict[str, Any] = {"dim": Choice(8, 10, 12), "depth": Choice(2, 4), "block": block, "share": share}
    return Backbone(
        stem=PatchEmbed(image=(28, 36), patch=(4, 4), tokens=(), position="none", norm=LayerNorm(), norm_first=True),
        stages=(Stage(**both), Stage(**both, own=("norm",), down=PatchMerging(post_norm=post_norm))),
        head=Head(classes=5, pool="mean"),
    )


SPACES = {
    "table": space(position=OffsetTable()),
    "image position": space(position=IRPE),
    "v2": space(cosine=True, bias="qv", position=ContinuousPosition(hidden=Choice(4, 6)), post_norm=True),
    "mini": space(mix=HeadMix(bias=True), always_masked=True, between=(LocalTransform(kernel=3),), share=Choice(1, 2)),
}


@pytest.fixture(scope="module", params=SPACES)
def one(request: pytest.FixtureRequest) -> Backbone:
    return SPACES[request.param]


@pytest.fixture
def supernet(one: Backbone) -> Supernet:
    return randomized(Supernet(one, drop_path=0.4))


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(3, 3, 28, 36, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("seed", range(5))
def test_the_extracted_network_equals_the_slice(one: Backbone, supernet: Supernet, images: Tensor, seed: int) -> None:
    arch = sample(one, random.Random(seed))
    extracted = inherit(supernet.network, arch)
    torch.testing.assert_close(extracted(images), supernet(images, arch), rtol=0, atol=1e-10)


def test_the_largest_is_the_plain_network(one: Backbone, supernet: Supernet, images: Tensor) -> None:
    hosted = Supernet(smallest(one), host=supernet.host).double().eval()
    hosted.network.load_state_dict(supernet.network.state_dict())
    torch.testing.assert_close(hosted(images, smallest(one)), supernet(images, smallest(one)), rtol=0, atol=1e-12)
    if largest(one) == supernet.host:
        assert torch.equal(supernet(images, largest(one)), supernet.network(images))


@pytest.mark.parametrize("kind", ["heads", "hidden", "embed"])
def test_permuting_an_axis_changes_nothing(supernet: Supernet, images: Tensor, kind: str) -> None:
    network, shapes = supernet.network, parameters(supernet.host)
    before = network(images)
    axes = {axis.name: axis.size for shape in shapes.values() for dimension in shape for axis in dimension}
    generator = torch.Generator().manual_seed(3)
    order = {
        name: torch.randperm(size, generator=generator) for name, size in axes.items() if name.endswith(f".{kind}")
    }
    assert len(order) > 1
    network.load_state_dict(reorder(network.state_dict(), shapes, order))
    torch.testing.assert_close(network(images), before, rtol=0, atol=1e-9)


def test_all_by_importance_changes_nothing(supernet: Supernet, images: Tensor) -> None:
    network, shapes = supernet.network, parameters(supernet.host)
    before, state = network(images), network.state_dict()
    network.load_state_dict(reorder(state, shapes, most_important_first(importance(state, shapes))))
    torch.testing.assert_close(network(images), before, rtol=0, atol=1e-9)


def test_a_smaller_window_keeps_the_middle_of_the_table() -> None:
    """The small offsets: the bias between two tokens is what it was."""
    supernet = Supernet(space(position=OffsetTable()))
    small = inherit(supernet.network, smallest(supernet.space)).state_dict()
    name = "stages.1.blocks.0.0.op.position.offset_bias"
    table = supernet.network.state_dict()[name].view(3, 7, 7)
    assert torch.equal(small[name].view(1, 3, 3), table[:1, 2:5, 2:5])


@pytest.mark.parametrize("share", [1, 2])
def test_odd_blocks_are_shifted_in_a_stage_of_any_depth(share: int) -> None:
    full = largest(space(mix=HeadMix(), share=share))
    for depth in (2, 4):
        arch = replace(full, stages=tuple(replace(stage, depth=depth) for stage in full.stages))
        host = Supernet(full)
        for stage in inherit(host.network, arch).stages:
            shifts = [block[0].value.shift for block in stage.blocks]  # type: ignore[union-attr]
            assert shifts == [b % 2 == 1 for b in range(depth)]
