"""How paths are drawn: by the board's frequencies, by fixed probabilities, within the budget."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
import torch

from vitesse.arch import MLP, Attention, Backbone, Block, Choice, Head, PatchEmbed, Stage, cost, picks, sample, smallest
from vitesse.errors import UsageError, VitesseError
from vitesse.search import Candidate
from vitesse.search.board import Board, Entry, insert
from vitesse.search.board_members import BoardMembers
from vitesse.search.paths import draw_path, drawing, fixed, frequencies
from vitesse.search.prioritizing import PrioritizedSettings

SPACE = Backbone(
    stem=PatchEmbed(image=(16, 16), patch=(8, 8)),
    stages=(
        Stage(
            dim=Choice(16, 24),
            depth=Choice(2, 3),
            block=Block(Attention(heads=Choice(1, 2, 4), head_dim=8), MLP(ratio=Choice(1.0, 2.0))),
        ),
    ),
    head=Head(classes=10),
)
WIDE = [arch for arch in (sample(SPACE, random.Random(seed)) for seed in range(60)) if arch.stages[0].dim == 24]


def board_of(*archs: Backbone) -> Board:
    board = Board(size=10)
    for place, arch in enumerate(archs):
        board = insert(board, Entry(
            arch=arch, accuracy=0.5, cost=float(place), step=place, images=(0,), probabilities=torch.zeros(1, 10)))  # fmt: skip
    return board


def drawn(
    settings: PrioritizedSettings, board: Board, *, count: int = 400, able: Any = lambda arch: True
) -> list[Backbone]:
    draw = drawing(SPACE, settings, pool=WIDE, feasible=able)
    return [draw(random.Random(f"0/{step}"), board) for step in range(count)]


def test_uniform_paths_come_from_the_pool() -> None:
    found = drawn(PrioritizedSettings(), Board(size=3))
    assert set(found) == set(WIDE)
    assert found == drawn(PrioritizedSettings(), board_of(smallest(SPACE)))


def test_the_board_says_which_options_come_often() -> None:
    """Four paths of one width: with one added to each count the other width comes once in six."""
    board = board_of(*WIDE[:4])
    found = drawn(PrioritizedSettings(sampling="board"), board)
    narrow = sum(arch.stages[0].dim == 16 for arch in found) / len(found)
    assert 0.09 < narrow < 0.25  # 1/6; four standard errors to either side
    published = drawn(PrioritizedSettings(sampling="board", rule="published"), board)
    assert all(arch.stages[0].dim == 24 for arch in published)
    even = drawn(PrioritizedSettings(sampling="board", rule="published"), Board(size=3))  # of nothing nothing is known
    assert 0.4 < sum(arch.stages[0].dim == 16 for arch in even) / len(even) < 0.6


def test_blocks_of_a_stage_are_counted_together() -> None:
    counted: Counter[int] = Counter()
    for arch in WIDE[:3]:
        counted.update(option for path, option in picks(SPACE, arch).items() if path.endswith("heads"))
    chances = frequencies(SPACE, WIDE[:3], smoothing=0.5)
    heads = SPACE.stages[0].blocks[0].branches[0].heads  # type: ignore[attr-defined]
    for block in range(3):
        found = chances(f"stages.0.blocks.{block}.0.heads", heads)
        assert found == [counted[option] + 0.5 for option in (1, 2, 4)]


def test_fixed_probabilities_are_of_the_choices_with_so_many_options() -> None:
    settings = PrioritizedSettings(sampling="fixed", probabilities=(0.8, 0.2, 0.0))
    heads: Counter[int] = Counter()
    wide = 0
    for arch in drawn(settings, Board(size=3)):
        heads.update(block.branches[0].heads for block in arch.stages[0].blocks)  # type: ignore[attr-defined]
        wide += arch.stages[0].dim == 24
    assert heads[4] == 0 and 0.75 < heads[1] / heads.total() < 0.85
    assert 140 < wide < 260  # others are uniform
    with pytest.raises(UsageError, match="the choices of this space have 2, 3"):
        fixed(SPACE, (0.25,) * 4)


def test_a_path_keeps_to_the_budget() -> None:
    least = cost(smallest(SPACE)).params

    def tight(arch: Backbone) -> bool:
        return cost(arch).params <= 1.01 * least

    chances = frequencies(SPACE, [], smoothing=1.0)
    assert cost(draw_path(SPACE, random.Random(0), chances=chances, feasible=tight)).params <= 1.01 * least
    with pytest.raises(VitesseError, match="Raise the limits"):
        draw_path(SPACE, random.Random(0), chances=chances, feasible=lambda arch: False)


def propose(
    strategy: BoardMembers, *, generation: int = 0, able: Any = lambda arch: True
) -> list[tuple[Backbone, str]]:
    history: list[Candidate] = []
    return strategy.propose(SPACE, history, generation=generation, rng=random.Random(0), feasible=able)


def test_the_members_of_the_board_are_the_candidates() -> None:
    members = (WIDE[0], smallest(SPACE), WIDE[0], WIDE[1])
    strategy = BoardMembers(members=members)
    assert propose(strategy) == [(arch, "board") for arch in dict.fromkeys(members)]
    assert propose(strategy, generation=1) == []
    assert propose(strategy, able=lambda arch: arch == WIDE[1]) == [(WIDE[1], "board")]


def test_a_board_beyond_the_limits_is_no_search() -> None:
    with pytest.raises(VitesseError, match="none of its 1 paths"):
        propose(BoardMembers(members=(WIDE[0],)), able=lambda arch: False)
    with pytest.raises(VitesseError, match="none of its 1 paths"):  # of another space
        propose(BoardMembers(members=(Backbone(stem=SPACE.stem, stages=WIDE[0].stages, head=Head(classes=3)),)))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"size": 0}, "size must be at least 1"),
        ({"begin": 1.0}, "begin must be a share"),
        ({"sampling": "fixed"}, "set both, or neither"),
        ({"probabilities": (1.0,)}, "set both, or neither"),
        ({"sampling": "fixed", "probabilities": (0.5, 0.6)}, "sum to 1"),
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PrioritizedSettings(**wrong)
