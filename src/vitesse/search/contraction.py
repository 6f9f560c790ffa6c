"""Progressive contraction (Wu et al., "TinyViT", ECCV 2022, section 3.3): from the largest network, one factor at a time."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vitesse.arch import Backbone, largest
from vitesse.search.candidate import Candidate, Feasible, Proposals
from vitesse.search.draw import draw, neighbours, with_decisions

TRIES = 3  # for each network of a generation
DEEPER = 3  # networks that are taken of one descent


@dataclass(frozen=True, kw_only=True, slots=True)
class Contraction:
    """Shrinks the largest network of the space, one factor one step at a time, and goes on from the best so far.

    A factor is a decision of a stage (its width, its depth) or one that its blocks take alike (window, ratio, heads): all
    of them step together. While the limits are not met, factors drawn at random are contracted, unscored, because what
    does not meet them is no candidate. From then on each generation holds all networks that are one step smaller than
    the best one; then some for which one factor of it grew a step and others were contracted until the limits were met
    again ("exchange"); then new descents from the largest, and random networks where that is not enough. After
    `patience` generations without a better network it ends.

    The paper publishes neither step sizes nor code, and trains what it compares; here the space's options are the steps,
    and scores are the search's. Exchange is ours: contraction alone cannot mend a step that was wrong.
    """

    population: int = 50
    patience: int = 3

    def __post_init__(self) -> None:
        if self.population < 1 or self.patience < 1:
            raise ValueError(
                "Contraction needs a population and a patience of at least 1, "
                f"but got population={self.population}, patience={self.patience}."
            )

    def propose(
        self,
        space: Backbone,
        history: Sequence[Candidate],
        *,
        generation: int,
        rng: random.Random,
        feasible: Feasible,
    ) -> Proposals:
        """Contractions and exchanges of the best network so far, then descents from the largest."""
        best = max(history, key=lambda candidate: candidate.score, default=None)  # of equals the earlier one
        if best is not None and history[-1].generation - best.generation >= self.patience:
            return []
        found: dict[Backbone, str] = {}
        seen = {candidate.arch for candidate in history}
        for arch, origin in self._ways(space, best, rng=rng, feasible=feasible):
            if len(found) == self.population:
                break
            if arch not in seen and arch not in found and feasible(arch):
                found[arch] = origin
        missing = self.population - len(found)
        others = draw(space, missing, rng=rng, feasible=feasible, seen=seen | found.keys()) if missing else []
        return [*found.items(), *((arch, "random") for arch in others)]

    def _ways(
        self, space: Backbone, best: Candidate | None, *, rng: random.Random, feasible: Feasible
    ) -> Iterator[tuple[Backbone, str]]:
        """Networks to look at, in the order of preference; some are known already, some beyond the limits."""
        whole = largest(space)
        current = whole if best is None else best.arch
        yield current, "contraction"
        smaller = [with_decisions(space, current, step) for step in _factors(space, current, up=False).values()]
        rng.shuffle(smaller)
        yield from ((arch, "contraction") for arch in smaller)
        grown = _factors(space, current, up=True)
        for _ in range(self.population * TRIES if grown else 0):
            held = rng.choice(sorted(grown))
            start = with_decisions(space, current, grown[held])
            yield from (
                (arch, "exchange") for arch in _descent(space, start, held=held, rng=rng, feasible=feasible)[:1]
            )
        for _ in range(self.population * TRIES):
            found = _descent(space, whole, held="", rng=rng, feasible=feasible)
            yield from ((arch, "contraction") for arch in found)


def _descent(space: Backbone, arch: Backbone, *, held: str, rng: random.Random, feasible: Feasible) -> list[Backbone]:
    """`arch` with factors other than `held` contracted at random: the first feasible network, and a few steps more."""
    found: list[Backbone] = []
    while True:
        if feasible(arch):
            found.append(arch)
        steps = _factors(space, arch, up=False)
        steps.pop(held, None)
        if not steps or len(found) == DEEPER:
            return found
        arch = with_decisions(space, arch, steps[rng.choice(sorted(steps))])


def _factors(space: Backbone, arch: Backbone, *, up: bool) -> dict[str, dict[str, Any]]:
    """By factor, what its decisions become when it goes one step down, or up; without those that are at their end."""
    factors: dict[str, dict[str, Any]] = {}
    for path, option in neighbours(space, arch, up=up).items():
        factors.setdefault(re.sub(r"\.blocks\.\d+\.", ".blocks.", path), {})[path] = option
    return factors
