from __future__ import annotations

import random
from typing import Any

import pytest

from vitesse.arch import (
    MLP,
    Attention,
    Backbone,
    Block,
    Choice,
    ConvStem,
    Downsample,
    Grid,
    Head,
    LocalConv,
    MBConv,
    PatchEmbed,
    Stage,
    WindowAttention,
    buffers,
    contains,
    cost,
    from_json,
    largest,
    parameters,
    picks,
    resolve,
    sample,
    size,
    smallest,
    to_data,
    to_json,
)

LATER = Block(WindowAttention(heads=Choice(1, 2), head_dim=8, window=Choice(2, 4)), LocalConv(), MLP(ratio=2))
SPACE = Backbone(
    stem=ConvStem(image=(32, 48), channels=1),
    stages=(
        Stage(dim=Choice(8, 12), depth=2, block=Block(MBConv(ratio=Choice(2, 3)))),
        Stage(dim=16, depth=Choice(1, 2), block=LATER, down=Downsample(act=Choice("relu", "gelu"))),
    ),
    head=Head(classes=3, pool="mean", norm_first=False),
)
ONE_STAGE = Backbone(
    stem=PatchEmbed(image=(16, 16), patch=(8, 8)),
    stages=(Stage(dim=8, depth=1, block=Block(MLP())),),
    head=Head(classes=3),
)


def changed(**parts: Any) -> Backbone:
    whole = largest(SPACE)
    return Backbone(**({"stem": whole.stem, "stages": whole.stages, "head": whole.head} | parts))


WRONG = [
    (lambda: MBConv(kernel=2), "MBConv.kernel must be an odd integer"),
    (lambda: MBConv(act="tanh"), "MBConv.act must"),  # type: ignore[arg-type]
    (lambda: MBConv(ratio=0), "MBConv.ratio must"),
    (lambda: LocalConv(kernel=Choice(3, 4)), "LocalConv.kernel must be an odd"),
    (lambda: WindowAttention(heads=0), "WindowAttention.heads must"),
    (lambda: WindowAttention(heads=1, window=0), "WindowAttention.window must"),
    (lambda: Downsample(act=1), "Downsample.act must"),  # type: ignore[arg-type]
    (lambda: ConvStem(image=(3, 3, 3)), "ConvStem.image must"),  # type: ignore[arg-type]
    (lambda: ConvStem(layers=0), "ConvStem.layers must"),
    (lambda: Stage(dim=8, depth=1, block=Block(MLP()), down=MLP()), "Stage.down must"),  # type: ignore[arg-type]
    (lambda: changed(stages=largest(SPACE).stages[::-1]), "Every stage but the first has a down"),
    (lambda: changed(stages=largest(SPACE).stages[:1] * 2), "Every stage but the first has a down"),
    (lambda: changed(head=Head(classes=3)), r"ConvStem.tokens is \(\)"),
    (lambda: changed(stem=PatchEmbed(), head=Head(pool="mean")), "MBConv works on a map"),
]


@pytest.mark.parametrize(("make", "message"), WRONG)
def test_a_broken_rule_is_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_values_are_json() -> None:
    for value in (SPACE, largest(SPACE), smallest(SPACE)):
        assert from_json(to_json(value)) == value and to_json(from_json(to_json(value))) == to_json(value)
    assert MBConv(ratio=4) == MBConv(ratio=4.0) and to_data(MBConv(ratio=4))["ratio"] == 4.0
    assert ConvStem(image=32) == ConvStem(image=(32, 32))  # type: ignore[arg-type]


def test_a_plain_network_is_written_as_ever() -> None:
    """Files and studies that were begun before there were more stages still fit."""
    assert "down" not in to_json(ONE_STAGE)
    assert "down" in to_json(SPACE)


def test_decisions_of_a_way_into_a_stage_are_decisions() -> None:
    arch = sample(SPACE, random.Random(1))
    found = picks(SPACE, arch)
    assert found["stages.1.down.act"] == arch.stages[1].down.act  # type: ignore[union-attr]
    assert resolve(SPACE, lambda path, choice: found[path]) == arch and contains(SPACE, arch)
    # Two widths, two ratios in each of two blocks; then the way in, and one or two blocks of four kinds.
    assert size(SPACE) == (2 * 2**2) * 2 * (4 + 4**2)


def test_odd_maps_are_rounded_up() -> None:
    arch = changed(stem=ConvStem(image=(33, 50), channels=1))
    assert arch.grids == (Grid(9, 13), Grid(5, 7))
    assert arch.reductions == (4, 8)
    assert ONE_STAGE.grids == (Grid(2, 2, 1),) and ONE_STAGE.reductions == (8,)


def test_streams_are_one_axis_from_stage_to_stage() -> None:
    table = parameters(largest(SPACE))
    into = table["stages.1.down.expand.conv.weight"]
    assert [[axis.name for axis in dimension] for dimension in into] == [
        ["stages.1.down.hidden"], ["stages.0.embed"], [], [],
    ]  # fmt: skip
    assert table["stages.1.down.project.conv.weight"][0][0].name == "stages.1.embed"
    assert table["stem.convs.1.conv.weight"][0][0].name == "stages.0.embed"
    assert table["stem.convs.1.conv.weight"][1][0].name == "stem.0.hidden"


def test_statistics_are_counted_as_buffers_only() -> None:
    arch = largest(SPACE)
    held = buffers(arch)
    assert not held.keys() & parameters(arch).keys()
    assert held["stages.0.blocks.1.0.op.depthwise.norm.running_var"][0][0].name == "stages.0.blocks.1.0.hidden"
    assert held["stages.1.down.project.norm.num_batches_tracked"] == ()
    assert buffers(ONE_STAGE) == {}
    with pytest.raises(ValueError, match="no buffers of its own"):
        buffers(SPACE)
    with pytest.raises(TypeError, match="takes an architecture"):
        buffers("tiny")


def test_costs_by_hand() -> None:
    """A stem of 2 x 3 x 3 convolutions on 8 x 8, one MBConv, on a map of 2 x 2, and a classifier."""
    arch = Backbone(
        stem=ConvStem(image=(8, 8)),
        stages=(Stage(dim=4, depth=1, block=Block(MBConv(ratio=2))),),
        head=Head(classes=3, pool="mean"),
    )
    stem, block, head = 16 * 3 * 2 * 9 + 4 * 2 * 4 * 9, 4 * (4 * 8 + 8 * 9 + 8 * 4), 4 * 3
    assert cost(arch).macs == stem + block + head
    weights = (2 * 3 * 9 + 4) + (4 * 2 * 9 + 8) + (8 * 4 + 16) + (8 * 9 + 16) + (4 * 8 + 8)
    assert cost(arch).params == weights + 8 + 4 * 3 + 3
    alive = max(3 * 64 + 2 * 16, 2 * 16 + 4 * 4, 4 * (4 + 4 + 2 * 8))
    assert cost(arch).memory_bytes == 4 * (cost(arch).params + alive)


def test_windows_are_charged_for_what_is_filled_up() -> None:
    attention = WindowAttention(heads=2, head_dim=4, window=3)
    assert attention.windows(Grid(4, 3)) == Grid(2, 1)
    assert attention.macs(6, Grid(4, 3)) == 2 * 9 * 8 * (4 * 6 + 2 * 9)
    assert Attention(heads=2, head_dim=4).macs(8, Grid(3, 3)) == WindowAttention(heads=2, head_dim=4, window=3).macs(
        8, Grid(3, 3)
    )
