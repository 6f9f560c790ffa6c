from __future__ import annotations

from dataclasses import replace

import pytest

from vitesse.arch import (
    MLP,
    Attention,
    Backbone,
    Block,
    Choice,
    ConvStem,
    Downsample,
    Head,
    HeadMix,
    LocalConv,
    MBConv,
    PatchEmbed,
    Stage,
    WindowAttention,
    from_json,
    largest,
    to_json,
)
from vitesse.arch.dimensions import Dimension, dimensions, moved

OPEN = Block(Attention(heads=Choice(1, 2, 3), head_dim=8), MLP(ratio=Choice(3.5, 4.0)))
PLAIN = Backbone(
    stem=PatchEmbed(image=(8, 8), patch=(2, 2)),
    stages=(Stage(dim=Choice(16, 24, 32), depth=Choice(1, 2), block=OPEN),),
    head=Head(classes=10),
)


def dimension(*options: float, step: float = 1) -> Dimension:
    return Dimension(name="x", places=("x",), options=options, step=step, least=1 if isinstance(step, int) else 0.01)


def named(space: Backbone) -> dict[str, tuple[float, ...]]:
    return {one.name: one.options for one in dimensions(space)}


def test_the_dimensions_of_a_plain_space() -> None:
    assert named(PLAIN) == {
        "stages.0.dim": (16, 24, 32),
        "stages.0.depth": (1, 2),
        "stages.0.blocks.0.heads": (1, 2, 3),
        "stages.0.blocks.1.ratio": (3.5, 4.0),
    }
    assert [one.step for one in dimensions(PLAIN)] == [8, 1, 1, 0.5]
    assert dimensions(PLAIN)[2].places == ("stages.0.blocks.0.0.heads", "stages.0.blocks.1.0.heads")


def test_what_is_no_interval_is_no_dimension() -> None:
    block = Block(
        Attention(heads=2, bias=Choice(True, False), mix=Choice(None, HeadMix())), MLP(act=Choice("gelu", "relu"))
    )
    stage = Stage(dim=Choice(16), depth=4, share=Choice(1, 2), block=block)
    assert dimensions(replace(PLAIN, stages=(stage,))) == ()


def test_hierarchical_spaces_and_blocks_with_other_options() -> None:
    attention = WindowAttention(heads=Choice(1, 2), window=Choice(2, 4))
    other = replace(attention, window=Choice(4, 8))
    space = Backbone(
        stem=ConvStem(image=(32, 32)),
        stages=(
            Stage(dim=Choice(8, 16), depth=1, block=Block(MBConv(ratio=Choice(2.0, 4.0)))),
            Stage(dim=16, depth=2, block=(Block(attention), Block(other)), down=Downsample()),
            Stage(dim=16, depth=1, block=Block(LocalConv(kernel=Choice(3, 5, 7))), down=Downsample()),
        ),
        head=Head(classes=3, pool="mean"),
    )
    assert named(space) == {
        "stages.0.dim": (8, 16),
        "stages.0.blocks.0.ratio": (2.0, 4.0),
        "stages.1.blocks.0.heads": (1, 2),
        "stages.1.blocks.0.0.window": (2, 4),
        "stages.1.blocks.1.0.window": (4, 8),
        "stages.2.blocks.0.kernel": (3, 5, 7),
    }
    after = moved(space, {"stages.1.blocks.1.0.window": (8, 12), "stages.2.blocks.0.kernel": (5, 7)})
    assert named(after)["stages.1.blocks.0.0.window"] == (2, 4)
    assert named(after)["stages.1.blocks.1.0.window"] == (8, 12)
    assert from_json(to_json(after)) == after
    with pytest.raises(ValueError, match="kernel must be"):
        moved(space, {"stages.2.blocks.0.kernel": (4, 6)})


@pytest.mark.parametrize(
    ("ends", "wanted"),
    [((0, 0), (2, 3, 4)), ((1, 1), (3, 4, 5)), ((-1, -1), (1, 2, 3)), ((-3, -3), (1,)), ((0, 2), (2, 3, 4, 5, 6)),
     ((-1, 0), (1, 2, 3, 4)), ((-5, 0), (1, 2, 3, 4)), ((1, 0), (3, 4)), ((1, -1), (3,)), ((-1, 1), (1, 2, 3, 4, 5))],
)  # fmt: skip
def test_intervals_shift_widen_and_narrow(ends: tuple[int, int], wanted: tuple[int, ...]) -> None:
    assert dimension(2, 3, 4).moved(*ends) == wanted


def test_irregular_options_keep_their_spacing_in_a_shift() -> None:
    space = moved(PLAIN, {"stages.0.dim": (16, 24, 32, 48, 64)})
    width = dimensions(space)[0]
    assert width.step == 16  # the mean spacing is 12, and all are multiples of 8
    assert width.moved(1, 1) == (32, 40, 48, 64, 80)
    assert width.moved(0, 1) == (16, 24, 32, 48, 64, 80)
    assert width.moved(1, 0) == (32, 48, 64)


def test_steps_of_a_tenth_add_up() -> None:
    ratio = dimension(0.1, 0.2, 0.3, step=0.1)
    assert ratio.moved(2, 2) == (0.3, 0.4, 0.5)
    assert ratio.moved(-1, -1) == (0.1, 0.2)


def test_blocks_that_a_greater_depth_adds_are_open_like_the_last() -> None:
    closed = Block(Attention(heads=1, head_dim=8), MLP(ratio=1.0))
    for block in (OPEN, (closed, OPEN)):
        space = replace(PLAIN, stages=(replace(PLAIN.stages[0], block=block),))
        stage = moved(space, {"stages.0.depth": (3, 4)}).stages[0]
        assert stage.blocks[-1] == OPEN and len(stage.blocks) == 4
        assert stage.blocks[0] == (OPEN if block is OPEN else closed)
        shallow = moved(space, {"stages.0.depth": (1, 2), "stages.0.blocks.0.heads": (2, 4)})
        assert largest(shallow).stages[0].blocks[-1].branches[0] == Attention(heads=4, head_dim=8)


def test_what_cannot_be_moved_is_named() -> None:
    with pytest.raises(ValueError, match=r"one of stages\.0\.dim, .* got 'stages.1.dim'"):
        moved(PLAIN, {"stages.1.dim": (1, 2)})
    with pytest.raises(ValueError, match="two options or more"):
        moved(PLAIN, {"stages.0.dim": (16,)})
