"""New feasible networks at random: by drawing, and where draws do not hit the budget, by shrinking what was drawn."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any

from vitesse.arch import Backbone, Options, picks, resolve, sample
from vitesse.errors import VitesseError
from vitesse.search.candidate import Feasible

DRAWS = 100  # for each network asked for; a draw and its cost by formula take well below a millisecond
REPAIRS = 10
MISSES = 10  # times as many in a row that bring nothing new: then what can be met so has been met


def draw(
    space: Backbone, count: int, *, rng: random.Random, feasible: Feasible, seen: Iterable[Backbone] = ()
) -> list[Backbone]:
    """Up to `count` feasible networks, distinct and not in `seen`; fewer where nothing new was found in bounded tries.

    The draws are uniform over the decisions. Where they fail, what was drawn is shrunk until it is feasible.
    Raises VitesseError where no network within the budget was ever met.
    """
    known = set(seen)
    barren = not known
    found: list[Backbone] = []
    for tries, shrunk in ((DRAWS, False), (REPAIRS, True)):
        missed = 0  # since the last one that was new
        for _ in range(count * tries):
            if len(found) == count or missed == tries * MISSES:
                break
            drawn = sample(space, rng)
            arch = repair(space, drawn, rng=rng, feasible=feasible) if shrunk else drawn
            missed += 1
            if arch is not None and arch not in known and feasible(arch):
                known.add(arch)
                found.append(arch)
                missed = 0
    if barren and not found and count:
        raise VitesseError(
            f"At least one network of the space must meet the budget, but none was found in {count * DRAWS} draws and "
            f"{count * REPAIRS} repairs. Raise the limits, or take a space with smaller networks."
        )
    return found


def repair(space: Backbone, arch: Backbone, *, rng: random.Random, feasible: Feasible) -> Backbone | None:
    """`arch` with random decisions made smaller, step by step, until it is feasible; None where that never helps."""
    current: Backbone | None = arch
    while current is not None and not feasible(current):
        current = _one_step_smaller(space, current, rng)
    return current


def _one_step_smaller(space: Backbone, arch: Backbone, rng: random.Random) -> Backbone | None:
    """One random decision takes its next smaller option; None where each is already the smallest."""
    smaller = neighbours(space, arch, up=False)
    if not smaller:
        return None
    path = rng.choice(list(smaller))
    return with_decisions(space, arch, {path: smaller[path]})


def neighbours(space: Backbone, arch: Backbone, *, up: bool) -> dict[str, Any]:
    """For each decision of `arch` the next smaller option, or the next larger one; without those that have none."""
    known, found = picks(space, arch), dict[str, Any]()

    def note(path: str, choice: Options) -> Any:
        options = choice.ordered
        place = options.index(known[path]) + (1 if up else -1)
        if 0 <= place < len(options):
            found[path] = options[place]
        return known[path]

    resolve(space, note)
    return found


def with_decisions(space: Backbone, arch: Backbone, changed: Mapping[str, Any]) -> Backbone:
    """`arch` with other decisions, by path; those that open because of them take their smallest option."""
    wanted = picks(space, arch) | dict(changed)

    def pick(path: str, choice: Options) -> Any:
        options = choice.ordered
        # A smaller operation may open decisions that the former one had not.
        return wanted[path] if wanted.get(path) in options else options[0]

    return resolve(space, pick)
