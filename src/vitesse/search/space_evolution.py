"""One step of a space's evolution: networks are drawn, scored and written down, and each dimension moves along its trend."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vitesse.arch import Backbone, largest, picks, sample, size, smallest, to_json
from vitesse.arch.dimensions import Number, dimensions, moved
from vitesse.errors import UsageError
from vitesse.search.candidate import Candidate
from vitesse.search.draw import draw
from vitesse.search.evolving import EvolveSettings
from vitesse.search.feasible import Costs, check_budget, within
from vitesse.search.loop import Progress, Score
from vitesse.search.space_error import SpaceError, space_error
from vitesse.search.space_importance import Importance, importances
from vitesse.search.space_trend import Trend, counted, trends
from vitesse.search.study import Study

FEWEST = 16
PROBES = 99
ROOM = 0.2  # the least share of a space's networks within the budget after a move: a search needs some to choose from
CHUNK = 64  # networks that are scored and written down at once


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """A space as its networks show it, and the space that follows.

    changes: the new options of the dimensions that move. held: why others that should move did not.
    """

    space: Backbone
    error: SpaceError
    trends: tuple[Trend, ...]
    importance: Mapping[str, Importance]
    following: Backbone
    changes: Mapping[str, tuple[Number, ...]]
    held: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a file."""
        return {
            "space": to_json(self.space),
            "size": f"{size(self.space):.3g}",
            "error": asdict(self.error),
            "dimensions": [self._told(trend) for trend in self.trends],
            "following": to_json(self.following),
        }

    def _told(self, trend: Trend) -> dict[str, Any]:
        one, slope = trend.dimension, trend.slope
        known = abs(slope.low) != float("inf")
        return {
            "name": one.name,
            "options": list(one.options),
            "step": one.step,
            "choices": list(trend.choices),
            "slope": {"value": slope.value, "low": slope.low, "high": slope.high} if known else None,
            "decided": trend.decided,
            "importance": asdict(self.importance[one.name]),
            "next": list(self.changes.get(one.name, one.options)),
            "held": self.held.get(one.name),
        }


def measure(
    space: Backbone,
    *,
    score: Score,
    costs: Costs,
    limits: Mapping[str, float],
    settings: EvolveSettings,
    storage: Path | str,
    seed: int,
    progress: Progress = lambda done, total, note: None,
) -> Measured:
    """Judge a space by networks near the limits, and say where it should move.

    The sample doubles while the move of a dimension is in doubt, up to `most_samples`; what is then still in doubt stays.
    All candidates lie in the study at `storage`; killed and started again it ends as if it had not been. Raises UsageError
    where there is no limit, no dimension, or hardly a network near the limits.
    """
    if not limits:
        raise UsageError(
            "A space evolves within a budget, because without one more is always better. Name one, such as --max-params."
        )
    found = dimensions(space)
    if not found:
        raise UsageError("A space that evolves has a choice among two numbers or more, but this one has none.")
    check_budget(space, costs, limits)
    drawn = _Sample(space, score=score, costs=costs, limits=limits, settings=settings, storage=storage, seed=seed)
    for look, count in enumerate(settings.looks):
        grown = drawn.grow(look, count, progress)
        if len(drawn.candidates) < FEWEST:
            raise UsageError(
                f"A space is judged by {FEWEST} networks or more near the budget, but it has {len(drawn.candidates)}. "
                "Take other limits, a larger space, or a smaller evolve.least_cost."
            )
        decisions = [picks(space, one.arch) for one in drawn.candidates]
        errors = [1 - one.score for one in drawn.candidates]
        told = trends(found, decisions, errors, settings=settings, looks=len(settings.looks), seed=seed)
        if not grown or all(trend.decided for trend in told):
            break
    means = {one.name: counted(one, decisions)[1] for one in found}
    changes, held = _changes(space, told, costs=costs, limits=limits)
    return Measured(
        space=space, error=space_error(errors, top=settings.top, seed=seed), trends=tuple(told),
        importance=importances(means, errors, seed=seed),
        following=moved(space, changes), changes=changes, held=held,
    )  # fmt: skip


class _Sample:
    """Random networks near the limits, scored and kept in a study."""

    def __init__(
        self, space: Backbone, *, score: Score, costs: Costs, limits: Mapping[str, float], settings: EvolveSettings,
        storage: Path | str, seed: int,
    ) -> None:  # fmt: skip
        self.space, self.score, self.costs, self.limits, self.seed = space, score, costs, limits, seed
        self.study = Study(storage, space, costs=tuple(costs(smallest(space))))
        self.study.enter(seed, f"{settings!r} within {sorted(limits.items())}")
        whole = costs(largest(space))
        self.least = {name: settings.least_cost * min(limit, whole[name]) for name, limit in limits.items()}
        self.candidates: list[Candidate] = []

    def grow(self, look: int, count: int, progress: Progress) -> bool:
        """Have `count` candidates; False where no more are found."""
        known = {one.arch: one for one in self.study.candidates(self.seed) if one.generation == look}
        archs = draw(
            self.space, count - len(self.candidates), rng=random.Random(f"{self.seed}/{look}"), feasible=self._near,
            seen=[one.arch for one in self.candidates],
        )  # fmt: skip
        fresh = [arch for arch in archs if arch not in known]
        for start in range(0, len(fresh), CHUNK):
            scored = self._scored(fresh[start : start + CHUNK], look)
            self.study.add(scored, seed=self.seed)
            known |= {one.arch: one for one in scored}
            progress(len(self.candidates) + len(known), count, f"{count} networks")
        self.candidates += [known[arch] for arch in archs]
        return bool(archs)

    def _near(self, arch: Backbone) -> bool:
        price = self.costs(arch)
        return within(price, self.limits) and any(price[name] >= least for name, least in self.least.items())

    def _scored(self, archs: Sequence[Backbone], look: int) -> list[Candidate]:
        return [
            Candidate(arch=arch, score=value, costs=self.costs(arch), origin="random", generation=look)
            for arch, value in zip(archs, self.score(archs), strict=True)
        ]


def _changes(
    space: Backbone, told: Sequence[Trend], *, costs: Costs, limits: Mapping[str, float]
) -> tuple[dict[str, tuple[Number, ...]], dict[str, str]]:
    """The moves that can be made together, the surest first, by fewer steps where all cannot; why others are not made."""
    changes, held = dict[str, tuple[Number, ...]](), dict[str, str]()
    least = min(ROOM, _share_within(space, costs, limits))
    ranked = sorted(told, key=lambda one: -one.strength)
    for trend in [*ranked, *ranked]:  # what was held at first may be possible after others have moved
        one = trend.dimension
        if one.name in changes:
            continue
        for less in range(max(abs(trend.lower), abs(trend.upper))):
            options = one.moved(_nearer(trend.lower, less), _nearer(trend.upper, less))
            try:
                following = moved(space, {**changes, one.name: options})
            except ValueError as error:  # the rules of the values say how far a dimension can go
                held[one.name] = str(error)
                continue
            if _share_within(following, costs, limits) >= least:
                changes[one.name] = options
                held.pop(one.name, None)
                break
            held[one.name] = "Hardly a network within the budget would be left."
    return changes, held


def _share_within(space: Backbone, costs: Costs, limits: Mapping[str, float]) -> float:
    """Of random networks of a space, and its smallest, the share that is within the limits."""
    rng = random.Random(0)
    probes = [smallest(space), *(sample(space, rng) for _ in range(PROBES))]
    return sum(within(costs(arch), limits) for arch in probes) / len(probes)


def _nearer(steps: int, less: int) -> int:
    """So many steps less, in the same direction."""
    return max(steps - less, 0) if steps > 0 else min(steps + less, 0)
