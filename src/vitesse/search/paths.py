"""Which path a supernet's step trains: each decision of the space drawn by chances that may follow the board."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from vitesse.arch import Backbone, Options, picks, resolve
from vitesse.errors import UsageError, VitesseError
from vitesse.search.board import Board
from vitesse.search.candidate import Feasible
from vitesse.search.draw import repair
from vitesse.search.genome import genes
from vitesse.search.prioritizing import PrioritizedSettings

# How likely each option of a choice is, up to a factor.
Chances = Callable[[str, Options], Sequence[float]]
DrawPath = Callable[[random.Random, Board], Backbone]
DRAWS = 100


def drawing(
    space: Backbone, settings: PrioritizedSettings, *, pool: Sequence[Backbone], feasible: Feasible
) -> DrawPath:
    """`draw(rng, board)`: the next path, within the budget; the same wherever generator and board are.

    pool: feasible paths drawn uniformly beforehand, which serve the uniform rule.
    """
    if settings.sampling == "uniform":
        return lambda rng, board: rng.choice(pool)
    if settings.sampling == "fixed":
        chances = fixed(space, settings.probabilities)
        return lambda rng, board: draw_path(space, rng, chances=chances, feasible=feasible)
    smoothing = 1.0 if settings.rule == "paper" else 0.0

    def by_board(rng: random.Random, board: Board) -> Backbone:
        often = frequencies(space, (entry.arch for entry in board.entries), smoothing=smoothing)
        return draw_path(space, rng, chances=often, feasible=feasible)

    return by_board


def draw_path(space: Backbone, rng: random.Random, *, chances: Chances, feasible: Feasible) -> Backbone:
    """A feasible network, drawn; what no draw made feasible is shrunk until it is. VitesseError where that fails."""

    def pick(path: str, choice: Options) -> Any:
        return rng.choices(choice.options, chances(path, choice))[0]

    for _ in range(DRAWS):
        arch = resolve(space, pick)
        if feasible(arch):
            return arch
    shrunk = repair(space, arch, rng=rng, feasible=feasible)
    if shrunk is None:
        raise VitesseError(
            f"A path must meet the budget, but none of {DRAWS} draws did, nor did one that was shrunk. "
            "Raise the limits, or take a space with smaller networks."
        )
    return shrunk


def frequencies(space: Backbone, archs: Iterable[Backbone], *, smoothing: float) -> Chances:
    """As often as these networks take each option, blocks of a stage counted together; `smoothing` is added to each count.

    The released code adds nothing, so that what the board lacks can never return. What no network decides is uniform.
    """
    counts: dict[str, Counter[Any]] = {}
    for arch in archs:
        for path, option in picks(space, arch).items():
            counts.setdefault(_kind(path), Counter())[option] += 1

    def chances(path: str, choice: Options) -> list[float]:
        known = counts.get(_kind(path), Counter[Any]())
        found = [known[option] + smoothing for option in choice.options]
        return found if any(found) else [1.0] * len(found)

    return chances


def fixed(space: Backbone, probabilities: Sequence[float]) -> Chances:
    """These probabilities for every choice among so many options, in the order in which they are written; others uniform.

    UsageError where the space has no such choice.
    """
    counts = sorted({len(options) for options in genes(space).values()})
    if len(probabilities) not in counts:
        raise UsageError(
            f"There must be a probability for each option of a choice, but got {len(probabilities)}; the choices of this "
            f"space have {', '.join(map(str, counts)) or 'none'}. Give as many, or leave sampling uniform."
        )

    def chances(path: str, choice: Options) -> Sequence[float]:
        return probabilities if len(choice.options) == len(probabilities) else [1.0] * len(choice.options)

    return chances


def _kind(path: str) -> str:
    return re.sub(r"\.blocks\.\d+\.", ".blocks.", path)
