"""The prioritized board: the few best paths that a supernet's training has met, each of which may teach others.

Peng et al., "Cream of the Crop: Distilling Prioritized Paths for One-Shot Neural Architecture Search", NeurIPS 2020
(arXiv 2010.15821), section 3.2. A board is a value; what happens to it makes another one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from vitesse.arch import Backbone, from_json, to_data

Rule = Literal["paper", "published"]
GAP = 0.05  # of accuracy, by which a path enters the published board whatever it costs


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A path on the board.

    accuracy: in [0, 1]. cost: multiply-adds, less is better. step: at which it came. images: the places, in the part that
    is learned, of its reference images; probabilities (images, classes): what it makes of them. taught: how many steps.
    """

    arch: Backbone
    accuracy: float
    cost: float
    step: int
    images: tuple[int, ...]
    probabilities: Tensor = field(compare=False, repr=False)
    taught: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Board:
    """Up to `size` paths, the best first.

    rule "paper": a path enters a full board in the place of one that it dominates, which is no more accurate and costs no
    less; of several the last goes. None stands there twice, and of equal accuracies the cheaper is ahead.
    rule "published", as the released code: it takes the last one's place where it is more accurate by more than `GAP`, or
    more accurate and cheaper; it may stand there twice; of equal accuracies the dearer is ahead, so the cheaper goes.
    gone: how many steps the paths taught that have left.
    """

    size: int
    rule: Rule = "paper"
    entries: tuple[Entry, ...] = ()
    gone: int = 0

    def __post_init__(self) -> None:
        if self.size < 1 or len(self.entries) > self.size:
            raise ValueError(f"A board has room for at least 1 path and holds no more, but got {self.size}.")


def admits(board: Board, arch: Backbone, *, accuracy: float, cost: float) -> bool:
    """Whether the path would enter. An accuracy of 1 asks whether it may at all, before anybody measures one."""
    if board.rule == "paper" and any(entry.arch == arch for entry in board.entries):
        return False
    if len(board.entries) < board.size:
        return True
    if board.rule == "paper":
        return any(entry.accuracy <= accuracy and entry.cost >= cost for entry in board.entries)
    last = board.entries[-1]
    return accuracy > last.accuracy + GAP or (accuracy > last.accuracy and cost < last.cost)


def insert(board: Board, entry: Entry) -> Board:
    """The board after a path has asked to enter: the same one where it is refused."""
    if not admits(board, entry.arch, accuracy=entry.accuracy, cost=entry.cost):
        return board
    kept = list(board.entries)
    if board.rule == "paper" and len(kept) == board.size:
        beaten = [one for one in kept if one.accuracy <= entry.accuracy and one.cost >= entry.cost]
        kept.remove(beaten[-1])
    return _sorted(board, [*kept, entry])


def looked_at(board: Board, looks: Sequence[tuple[float, Tensor]]) -> Board:
    """The board with what its paths are like now: the accuracy and the probabilities of each, in the board's order."""
    seen = [
        replace(entry, accuracy=accuracy, probabilities=probabilities)
        for entry, (accuracy, probabilities) in zip(board.entries, looks, strict=True)
    ]
    return _sorted(board, seen)


def has_taught(board: Board, place: int) -> Board:
    """The board after the path at `place` was a step's teacher."""
    entries = list(board.entries)
    entries[place] = replace(entries[place], taught=entries[place].taught + 1)
    return replace(board, entries=tuple(entries))


def _sorted(board: Board, entries: Sequence[Entry]) -> Board:
    sign = 1 if board.rule == "paper" else -1  # the sort is stable: of equals in both the earlier one stays ahead
    ordered = sorted(entries, key=lambda entry: (-entry.accuracy, sign * entry.cost))
    kept = tuple(ordered[: board.size])
    left = sum(entry.taught for entry in board.entries) - sum(entry.taught for entry in kept)
    return replace(board, entries=kept, gone=board.gone + left)


def to_plain(board: Board) -> dict[str, Any]:
    """The board as plain values for JSON, without the probabilities."""
    names = ("accuracy", "cost", "step", "taught")
    entries = [
        {"arch": to_data(entry.arch), **{name: getattr(entry, name) for name in names}, "images": list(entry.images)}
        for entry in board.entries
    ]
    return {"size": board.size, "rule": board.rule, "gone": board.gone, "entries": entries}


def archs_of(plain: Mapping[str, Any]) -> tuple[Backbone, ...]:
    """The paths of a board as plain values, the best first."""
    return tuple(from_json(json.dumps(entry["arch"])) for entry in plain["entries"])


def to_state(board: Board) -> dict[str, Any]:
    """The whole board as text and tensors, for a checkpoint."""
    return {"board": json.dumps(to_plain(board)), "probabilities": [entry.probabilities for entry in board.entries]}


def from_state(state: Mapping[str, Any]) -> Board:
    """What `to_state` made, the probabilities in float32 on the device where the state lies."""
    plain = json.loads(state["board"])
    entries = tuple(
        Entry(
            arch=arch, probabilities=torch.as_tensor(probabilities), images=tuple(entry["images"]),
            **{name: entry[name] for name in ("accuracy", "cost", "step", "taught")},
        )
        for arch, entry, probabilities in zip(archs_of(plain), plain["entries"], state["probabilities"], strict=True)
    )  # fmt: skip
    return Board(size=plain["size"], rule=plain["rule"], gone=plain["gone"], entries=entries)
