from __future__ import annotations

from typing import Any

import pytest

from vitesse.arch import (
    Backbone,
    BatchNorm,
    Block,
    CascadedAttention,
    Choice,
    ConvMLP,
    ConvStem,
    Grid,
    Head,
    LocalConv,
    SandwichDownsample,
    Stage,
    contains,
    cost,
    from_json,
    parameters,
    smallest,
    to_json,
)
from vitesse.arch.convolution import squeezed

CASCADE = CascadedAttention(heads=2, kernels=(3, 5), key_dim=3, window=2)


def stage(dim: int = 8, groups: int = 1, **attention: Any) -> Stage:
    return Stage(
        dim=dim, depth=1, channel_groups=groups, block=Block(CascadedAttention(**({"kernels": (3, 5)} | attention)))
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CascadedAttention(heads=3, kernels=(3, 5)), "an odd integer for each of 3 heads"),
        (lambda: CascadedAttention(heads=Choice(1, 3), kernels=(3, 5)), "an odd integer for each of 3 heads"),
        (lambda: CascadedAttention(heads=2, kernels=Choice((3, 5), (3, 4))), "an odd integer for each of 2 heads"),
        (lambda: CascadedAttention(heads=1, kernels=3), "an odd integer"),  # type: ignore[arg-type]
        (lambda: CascadedAttention(heads=1, kernels=(3,), key_dim=0), "CascadedAttention.key_dim must"),
        (lambda: CascadedAttention(heads=1, kernels=(3,), window=0), "CascadedAttention.window must"),
        (lambda: CascadedAttention(heads=0, kernels=(3,)), "CascadedAttention.heads must"),
        (lambda: CASCADE.sizes(9), "9 is no multiple of 2"),
        (lambda: stage(dim=Choice(8, 9), heads=2), "9 is no multiple of 2"),
        (lambda: stage(dim=9, heads=Choice(1, 2)), "9 is no multiple of 2"),
        (lambda: stage(heads=1, groups=2), r"channel_groups=2 and the heads are \[1\]"),
        (lambda: stage(heads=Choice(1, 2), groups=2), r"channel_groups=2 and the heads are \[1, 2\]"),
        (lambda: stage(heads=2, groups=0), "Stage.channel_groups must"),
        (lambda: ConvMLP(ratio=0), "ConvMLP.ratio must"),
        (lambda: SandwichDownsample(ratio=0), "SandwichDownsample.ratio must"),
        (lambda: LocalConv(residual=1), "LocalConv.residual must"),  # type: ignore[arg-type]
        (lambda: Head(pool="mean", norm=BatchNorm()), "Set norm_first=False"),
        (lambda: Head(pool="mean_distilled"), "Set norm_first=False"),
    ],
)
def test_a_broken_rule_is_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_values_are_json_and_found_in_their_space() -> None:
    free = CascadedAttention(heads=Choice(1, 2), kernels=(Choice(3, 5), 3), key_dim=Choice(2, 4))
    space = Backbone(
        stem=ConvStem(),
        stages=(
            Stage(dim=Choice(8, 12), depth=1, block=Block(free, LocalConv(residual=True), ConvMLP())),
            Stage(
                dim=8, depth=1, block=Block(CASCADE), channel_groups=2, down=SandwichDownsample(ratio=Choice(2.0, 4.0))
            ),
        ),
        head=Head(pool="mean", norm=BatchNorm(), norm_first=False),
    )
    for value in (space, smallest(space)):
        assert from_json(to_json(value)) == value
    assert contains(space, smallest(space))
    assert "residual" not in to_json(smallest(space)).replace('"residual":true', "")


def test_costs_by_hand() -> None:
    """A map of 3 x 4 in two windows of 2 x 2 by two, filled up below: 4 windows of 4 tokens, 2 heads of 4 channels."""
    assert CASCADE.windows(Grid(3, 4)) == (4, Grid(2, 2))
    projections, local = 16 * 2 * 4 * (2 * 3 + 4) + 16 * 8 * 8, 16 * 3 * (9 + 25)
    scores = 4 * 2 * 4 * 4 * (3 + 4)
    assert CASCADE.macs(8, Grid(3, 4)) == projections + local + scores
    # A map within a window is one, and not filled up.
    assert CASCADE.windows(Grid(1, 2)) == (1, Grid(1, 2))
    one_head = 2 * 4 * 10 + 2 * 2 * 7
    assert CASCADE.macs(8, Grid(1, 2)) == 2 * one_head + 2 * 3 * (9 + 25) + 2 * 64
    down = SandwichDownsample(ratio=2, mlp_ratio=1)
    before, merge = 12 * (4 * 9 + 2 * 16), 12 * 4 * 8 + 4 * 8 * 9 + 2 * 8 * 8 + 4 * 8 * 6
    assert down.macs(4, 6, Grid(3, 4)) == before + merge + 4 * (6 * 9 + 2 * 36)


def test_channels_of_a_grouped_stage_are_two_axes() -> None:
    grouped = Backbone(
        stem=ConvStem(), stages=(stage(heads=2, groups=2),), head=Head(pool="mean", norm=None, classes=2)
    )
    table = parameters(grouped)
    names = [[axis.name for axis in dimension] for dimension in table["head.classifier.weight"]]
    assert names == [["head.classes"], ["stages.0.groups", "stages.0.channel"]]
    joint = table["stages.0.blocks.0.0.op.heads.1.value.conv.weight"]
    assert [[axis.name for axis in dimension] for dimension in joint[:2]] == [["stages.0.channel"]] * 2
    assert cost(grouped).params == cost(Backbone(stem=ConvStem(), stages=(stage(heads=2),), head=grouped.head)).params


def test_a_squeeze_is_a_multiple_of_eight() -> None:
    assert [squeezed(hidden) for hidden in (4, 47, 48, 96, 256)] == [8, 8, 16, 24, 64]
