"""Choosing among candidates: the front, the winner, and finalists that are far apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vitesse.arch import Backbone, to_data
from vitesse.errors import UsageError, VitesseError
from vitesse.search.candidate import Candidate
from vitesse.search.feasible import within

POOL = 10  # finalists come from this many times as many of the best scores


def front(candidates: Sequence[Candidate], costs: Sequence[str]) -> list[Candidate]:
    """The candidates that no other one beats in score and all `costs` at once, from cheap to dear by the first cost."""
    if not costs:
        raise UsageError("A front sets the score against at least one cost, but no cost was named.")
    kept: list[tuple[tuple[float, ...], Candidate]] = []
    points = [((-c.score, *(c.costs[name] for name in costs)), c) for c in candidates]
    # In this order nothing can be beaten by what comes after it, and equal points keep the earlier candidate.
    for point, candidate in sorted(points, key=lambda item: item[0]):
        if not any(all(a <= b for a, b in zip(better, point, strict=True)) for better, _ in kept):
            kept.append((point, candidate))
    return [candidate for _, candidate in sorted(kept, key=lambda item: item[0][1:])]


def winner(candidates: Sequence[Candidate], limits: Mapping[str, float]) -> Candidate:
    """The best score within the limits; of equal scores the cheaper one, the limited costs first."""
    return _ranked(candidates, limits)[0]


def finalists(candidates: Sequence[Candidate], limits: Mapping[str, float], count: int) -> list[Candidate]:
    """The winner and up to `count` - 1 more of the best, as unlike one another as possible, best score first.

    A search on a noisy score finds what the noise favours; networks that are far apart do not share one error.
    """
    pool = _ranked(candidates, limits)[: POOL * count]
    fields = [_fields(candidate.arch) for candidate in pool]
    chosen = [0]
    far = [_distance(fields[0], other) for other in fields]
    while len(chosen) < count and max(far) > 0:
        farthest = far.index(max(far))  # the first of equals has the better score
        chosen.append(farthest)
        far = [min(old, _distance(fields[farthest], other)) for old, other in zip(far, fields, strict=True)]
    return [pool[place] for place in sorted(chosen)]


def _ranked(candidates: Sequence[Candidate], limits: Mapping[str, float]) -> list[Candidate]:
    able = [candidate for candidate in candidates if within(candidate.costs, limits)]
    if not able:
        raise VitesseError(
            f"A winner must be within the limits {dict(limits)}, but none of {len(candidates)} candidates is. "
            "Search longer, or raise the limits."
        )

    def order(candidate: Candidate) -> tuple[float, ...]:
        others = [value for name, value in candidate.costs.items() if name not in limits]
        return (-candidate.score, *(candidate.costs[name] for name in limits), *others)

    return sorted(able, key=order)


def _fields(arch: Backbone) -> dict[str, Any]:
    """Each number and word of an architecture by its place, block by block."""
    flat: dict[str, Any] = {}

    def walk(data: Any, place: str) -> None:
        items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else None
        if items is None:
            flat[place] = data
            return
        for key, item in items:
            walk(item, f"{place}.{key}")

    for s, stage in enumerate(arch.stages):
        walk([stage.dim, stage.depth, stage.group, *(to_data(block) for block in stage.blocks)], str(s))
    walk([to_data(arch.stem), to_data(arch.head)], "ends")
    return flat


def _distance(a: Mapping[str, Any], b: Mapping[str, Any]) -> int:
    """How many places differ; what one of them lacks counts as different."""
    return sum(place not in a or place not in b or a[place] != b[place] for place in a.keys() | b.keys())
