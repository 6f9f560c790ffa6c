"""Values of whole networks: what is refused and in which words, and one form for one network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vitesse.arch import MLP, Attention, Backbone, Block, Choice, Head, LayerNorm, PatchEmbed, RelativePosition, Stage

BLOCK = Block(Attention(heads=2), MLP(ratio=2.0))
STEM = PatchEmbed(image=(32, 32), patch=(16, 16))

WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: Attention(heads=0), r"Attention.heads must be an integer of at least 1, but got 0\."),
    (lambda: Attention(heads=True), "Attention.heads must be an integer"),
    (lambda: Attention(heads=2.0), "Attention.heads must be an integer"),  # type: ignore[arg-type]
    (lambda: Attention(heads=Choice(2, 0)), r"Attention.heads must .* got Choice\(2, 0\)"),
    (lambda: Attention(heads=2, head_dim=-1), "Attention.head_dim must"),
    (lambda: Attention(heads=2, bias="all"), 'Attention.bias must be True, False or "packed"'),  # type: ignore[arg-type]
    (lambda: Attention(heads=2, bias=1), "Attention.bias must"),  # type: ignore[arg-type]
    (lambda: Attention(heads=2, position=14), "Attention.position must"),  # type: ignore[arg-type]
    (lambda: Attention(heads=2, norm=1e-6), "Attention.norm must be a LayerNorm"),  # type: ignore[arg-type]
    (lambda: RelativePosition(reach=0), "RelativePosition.reach must"),
    (lambda: RelativePosition(on="q"), 'RelativePosition.on must be "k", "v" or "kv"'),  # type: ignore[arg-type]
    (lambda: MLP(ratio=0), "MLP.ratio must be a number between 0.01 and 1000, but got 0"),
    (lambda: MLP(ratio=float("nan")), "MLP.ratio must"),
    (lambda: MLP(act="tanh"), "MLP.act must"),  # type: ignore[arg-type]
    (lambda: MLP(norm="layer"), "MLP.norm must"),  # type: ignore[arg-type]
    (lambda: LayerNorm(eps=0.0), "LayerNorm.eps must"),
    (lambda: PatchEmbed(image=(30, 30)), r"PatchEmbed.image must be a multiple of the patch \(16, 16\)"),
    (lambda: PatchEmbed(image=(32, 32, 32)), "PatchEmbed.image must be one integer or"),  # type: ignore[arg-type]
    (lambda: PatchEmbed(patch=0), "PatchEmbed.patch must"),  # type: ignore[arg-type]
    (lambda: PatchEmbed(image=Choice((224, 224), (192, 192))), "PatchEmbed.image must .* no Choice"),
    (lambda: PatchEmbed(image=(Choice(224, 192), 224)), "PatchEmbed.image must .* no Choice"),
    (lambda: PatchEmbed(tokens="class"), "PatchEmbed.tokens must be a tuple"),  # type: ignore[arg-type]
    (lambda: PatchEmbed(tokens=("cls",)), r"PatchEmbed.tokens must .* got \('cls',\)"),
    (lambda: PatchEmbed(position="some"), "PatchEmbed.position must"),  # type: ignore[arg-type]
    (lambda: PatchEmbed(norm=True), "PatchEmbed.norm must"),  # type: ignore[arg-type]
    (lambda: Head(classes=-1), "Head.classes must"),
    (lambda: Head(pool="max"), "Head.pool must"),  # type: ignore[arg-type]
    (lambda: Block(), "Block.branches must be one operation or more"),
    (lambda: Block(STEM), "Block.branches must"),  # type: ignore[arg-type]
    (lambda: Stage(dim=0, depth=1, block=BLOCK), "Stage.dim must"),
    (lambda: Stage(dim=8, depth=10**9, block=BLOCK), "Stage.depth must be an integer between 0 and 10000"),
    (lambda: Stage(dim=8, depth=3, block=(BLOCK,) * 2), "Stage.block must hold as many blocks as the depth, 3"),
    (lambda: Stage(dim=8, depth=Choice(2, 3), block=(BLOCK,) * 2), "Stage.block must hold .* 3"),
    (lambda: Stage(dim=8, depth=2, block=((), ())), "Stage.block must be a Block"),  # type: ignore[arg-type]
    (lambda: Stage(dim=8, depth=1, block=MLP()), "Stage.block must be a Block"),  # type: ignore[arg-type]
    (lambda: backbone(stages=()), "Backbone.stages must be a tuple of one Stage"),
    (lambda: backbone(stem=None), "Backbone.stem must be a PatchEmbed or a ConvStem, but got None"),
    (lambda: backbone(head=None), "Backbone.head must be a Head, but got None"),
    (lambda: Choice(), r"A Choice needs at least one option, .* Write Choice\(3, 4\)"),
    (lambda: Choice(3, 4, 3), r"The options of a Choice must differ, but got \(3, 4, 3\)\. Name each one once"),
    (lambda: Choice(3, 3.0), "must differ"),
]


def backbone(**changes: Any) -> Backbone:
    parts: dict[str, Any] = {"stem": STEM, "stages": (Stage(dim=16, depth=3, block=BLOCK),), "head": Head(classes=5)}
    return Backbone(**(parts | changes))


@pytest.mark.parametrize(("make", "message"), WRONG)
def test_a_broken_rule_is_named_with_its_value(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("pool", "tokens"),
    [
        ("class", ()),
        ("class", ("register", "class")),  # the first token is what the head reads
        ("distilled", ("class",)),
        ("distilled", ("distillation", "class")),
        ("distilled", ("class", "register", "distillation")),
        (Choice("mean", "class"), ()),
    ],
)
def test_a_head_finds_the_tokens_that_it_reads(pool: Any, tokens: tuple[str, ...]) -> None:
    stem = PatchEmbed(image=(32, 32), tokens=tokens)
    with pytest.raises(ValueError, match=r"reads the first tokens.*Put them first, or pool by .mean.\."):
        backbone(stem=stem, head=Head(pool=pool))
    assert backbone(stem=stem, head=Head(pool="mean")).stem.tokens == tokens


def test_one_integer_stands_for_a_square() -> None:
    assert PatchEmbed(image=32, patch=16) == PatchEmbed(image=(32, 32), patch=(16, 16))  # type: ignore[arg-type]
    assert PatchEmbed(image=[32, 48], patch=16).image == (32, 48)  # type: ignore[arg-type]
    grid = PatchEmbed(image=(32, 48), patch=(8, 16), tokens=("class", "register")).grid
    assert (grid.rows, grid.columns, grid.patches, grid.extra, grid.tokens) == (4, 3, 12, 2, 14)


def test_blocks_that_are_alike_are_written_once() -> None:
    """Three ways to write one network are equal, hash alike and print alike."""
    ways = [
        Stage(dim=16, depth=3, block=BLOCK),
        Stage(dim=16, depth=3, block=(BLOCK,) * 3),
        Stage(dim=16, depth=3, block=[BLOCK, BLOCK, Block(Attention(heads=2), MLP(ratio=2))]),  # type: ignore[arg-type]
    ]
    assert len(set(ways)) == 1 and len(set(map(hash, ways))) == 1 and len(set(map(repr, ways))) == 1
    assert ways[1].block == BLOCK and ways[1].blocks == (BLOCK,) * 3


def test_different_blocks_keep_their_places() -> None:
    other = Block(Attention(heads=1), MLP(ratio=2.0))
    first, second = (
        Stage(dim=16, depth=2, block=(BLOCK, other)),
        Stage(dim=16, depth=2, block=(other, BLOCK)),
    )
    assert first != second and first.blocks == (BLOCK, other)
    assert len({first, second, Stage(dim=16, depth=2, block=BLOCK)}) == 3


def test_the_hidden_width_is_exact_and_never_nothing() -> None:
    assert MLP(ratio=3.5).hidden(216) == 756
    assert MLP(ratio=757 / 216).hidden(216) == 757  # a ratio that was computed from the width gives it back
    assert MLP(ratio=0.01).hidden(8) == 1
