"""The board: the published one as the released code kept it, the paper's by its rule, and what survives a checkpoint."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from vitesse.arch import MLP, Backbone, Block, Choice, Head, PatchEmbed, Stage, picks, resolve
from vitesse.search.board import (
    Board,
    Entry,
    admits,
    archs_of,
    from_state,
    has_taught,
    insert,
    looked_at,
    to_plain,
    to_state,
)
from vitesse.search.paths import frequencies

RECORD = json.loads((Path(__file__).parents[1] / "golden" / "cream_board_A.json").read_text())
# Four layers, each of which takes one of six options: the paths of the record.
SPACE = Backbone(
    stem=PatchEmbed(image=(16, 16), patch=(8, 8)),
    stages=(Stage(dim=8, depth=4, block=Block(MLP(ratio=Choice(1.0, 2.0, 3.0, 4.0, 5.0, 6.0)))),),
    head=Head(classes=3),
)


def path(candidate: list[list[int]]) -> Backbone:
    """The path of a record's candidate, such as [[1, 2], [3, 4]]."""
    ops = [op for stage in candidate for op in stage]
    return resolve(SPACE, lambda where, choice: choice.options[ops[int(where.split(".")[3])]])


def entry(number: int, *, accuracy: float = 0.5, cost: float = 1.0, **changes: Any) -> Entry:
    """A path that differs from those of other numbers."""
    made = Entry(
        arch=path([[number % 6, number // 6 % 6], [0, 0]]), accuracy=accuracy, cost=cost, step=number, images=(0, 1),
        probabilities=torch.full((2, 3), float(number)),
    )  # fmt: skip
    return replace(made, **changes)


def board_of(*entries: Entry, size: int = 3, rule: Any = "paper") -> Board:
    made = Board(size=size, rule=rule)
    for one in entries:
        made = insert(made, one)
    return made


def test_the_published_board_is_that_of_the_released_code() -> None:
    """Each insert of the record, with the probabilities that were kept: the path's own at first, then its teacher's."""
    board = Board(size=RECORD["pool_size"], rule="published")
    inserted = 0
    for step in RECORD["steps"]:
        event = step["event"]
        if event["epoch"] > RECORD["meta_sta_epoch"]:
            logits = torch.tensor(step["teacher_output"] if board.entries else step["output"])
            new = Entry(
                arch=path(event["cand"]), accuracy=event["prec1"] / 100, cost=event["flops"], step=int(step["inputs_tag"]),
                images=(0, 1), probabilities=logits[: RECORD["slice"]].softmax(-1),
            )  # fmt: skip
            after = insert(board, new)
            assert (after is not board) == step["is_update"]
            inserted += after is not board
            board = after
        assert len(board.entries) == len(step["board"])
        for mine, theirs in zip(board.entries, step["board"], strict=True):
            assert mine.arch == path(theirs["cand"]) and mine.step == theirs["inputs_tag"]
            assert (100 * mine.accuracy, mine.cost) == pytest.approx((theirs["prec1"], theirs["flops"]))
            torch.testing.assert_close(mine.probabilities, torch.tensor(theirs["soft_label"]), rtol=1e-5, atol=1e-7)
    assert inserted > 5
    assert board.entries[0].arch == path(RECORD["top1_teacher"][1])


def test_the_published_frequencies_of_the_board() -> None:
    """Every layer counts alike, and nothing is smoothed."""
    last = [path(one["cand"]) for one in RECORD["steps"][-1]["board"]]
    chances = frequencies(SPACE, last, smoothing=0.0)
    choice = SPACE.stages[0].blocks[0].branches[0].ratio  # type: ignore[attr-defined]
    for where in picks(SPACE, last[0]):
        found = torch.tensor(chances(where, choice))
        torch.testing.assert_close(found / found.sum(), torch.tensor(RECORD["prob_teacher"]), rtol=1e-6, atol=1e-7)


def test_the_paper_s_rule() -> None:
    """A path takes the place of the worst that it dominates, and of nothing else."""
    full = board_of(entry(1, accuracy=0.9, cost=9), entry(2, accuracy=0.5, cost=5), entry(3, accuracy=0.4, cost=6))
    assert [one.step for one in full.entries] == [1, 2, 3]
    told = {  # accuracy, cost: who goes
        (0.95, 10.0): None,  # more accurate than all, but dearer than each
        (0.99, 9.0): 1,
        (0.45, 5.5): 3,  # the second is more accurate
        (0.45, 4.0): 3,
        (0.50, 5.0): 3,  # two are dominated: the worse goes
        (0.30, 1.0): None,
        (0.60, 8.0): None,  # the only path that costs as much is better
    }
    for number, ((accuracy, cost), gone) in enumerate(told.items(), start=10):
        new = entry(number, accuracy=accuracy, cost=cost)
        after = insert(full, new)
        left = {1, 2, 3} - {one.step for one in after.entries}
        assert left == ({gone} if gone else set()), (accuracy, cost)
        assert admits(full, new.arch, accuracy=accuracy, cost=cost) == (gone is not None)
        assert (after is full) == (gone is None)
        assert admits(full, new.arch, accuracy=1.0, cost=cost) == (cost <= 9)


def test_no_path_stands_on_the_board_twice() -> None:
    one = board_of(entry(1, accuracy=0.5))
    assert insert(one, entry(1, accuracy=0.9)) is one
    twice = board_of(entry(1), entry(1), rule="published")
    assert len(twice.entries) == 2


def test_of_equal_accuracies_the_cheaper_is_ahead_and_in_the_published_board_the_dearer() -> None:
    pair = entry(1, cost=2.0), entry(2, cost=1.0)
    assert [one.cost for one in board_of(*pair).entries] == [1.0, 2.0]
    assert [one.cost for one in board_of(*pair, rule="published").entries] == [2.0, 1.0]


def test_a_new_look_orders_the_board_anew() -> None:
    board = has_taught(board_of(entry(1, accuracy=0.9), entry(2, accuracy=0.5)), 1)
    after = looked_at(board, [(0.4, torch.zeros(2, 3)), (0.6, torch.ones(2, 3))])
    assert [(one.step, one.accuracy, one.taught) for one in after.entries] == [(2, 0.6, 1), (1, 0.4, 0)]
    assert torch.equal(after.entries[0].probabilities, torch.ones(2, 3))


def test_what_those_taught_that_have_left_is_counted() -> None:
    board = has_taught(has_taught(board_of(entry(1), entry(2), size=2), 1), 0)
    board = insert(board, entry(3, accuracy=0.9))
    assert [one.step for one in board.entries] == [3, 1] and board.gone == 1


def test_what_is_written_is_read(tmp_path: Path) -> None:
    board = has_taught(board_of(entry(1, accuracy=1 / 3), entry(2, images=(5, 7)), rule="published", size=4), 0)
    torch.save(to_state(board), tmp_path / "state.pt")
    found = from_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert found == board
    assert all(torch.equal(a.probabilities, b.probabilities) for a, b in _pairs(found, board))
    assert archs_of(json.loads(json.dumps(to_plain(board)))) == tuple(one.arch for one in board.entries)
    assert from_state(to_state(Board(size=2))) == Board(size=2)


def _pairs(a: Board, b: Board) -> list[tuple[Entry, Entry]]:
    return list(zip(a.entries, b.entries, strict=True))


def test_a_board_has_room() -> None:
    with pytest.raises(ValueError, match="at least 1 path"):
        Board(size=0)
