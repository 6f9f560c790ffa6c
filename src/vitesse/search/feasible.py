"""Limits on costs, and the question to ask before anything long starts: can any network of the space meet them?"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import TypeVar

from vitesse.arch import Backbone, sample, smallest
from vitesse.errors import UsageError

V = TypeVar("V")
Costs = Callable[[Backbone], Mapping[str, float]]
PROBES = 256


def within(costs: Mapping[str, float], limits: Mapping[str, float]) -> bool:
    """Whether each limited cost is at most its limit."""
    return all(costs[name] <= limit for name, limit in limits.items())


def check_budget(space: V, costs: Callable[[V], Mapping[str, float]], limits: Mapping[str, float]) -> None:
    """Raise UsageError where no network of the space meets the limits; the message names the nearest that can be met.

    The smallest network answers for costs that grow with every choice; a few hundred others are asked only where it
    fails, for costs that do not (a predicted latency).
    """
    cheapest = costs(smallest(space))
    for name, limit in limits.items():
        if name not in cheapest:
            raise UsageError(f"A limit must be on a known cost ({', '.join(cheapest)}), but got {name!r}.")
        if not limit > 0:
            raise UsageError(f"A limit must be a positive number, but {name} is limited to {limit}.")
    if within(cheapest, limits):
        return
    rng = random.Random(0)
    probes = [cheapest, *(costs(sample(space, rng)) for _ in range(PROBES))]
    if any(within(probe, limits) for probe in probes):
        return
    least = {name: min(probe[name] for probe in probes) for name in limits}
    nearest = min(probes, key=lambda probe: max(probe[name] / limit for name, limit in limits.items()))
    asked = ", ".join(f"{name} <= {_number(limit)}" for name, limit in limits.items())
    reach = ", ".join(f"{name} {_number(value)}" for name, value in least.items())
    together = ", ".join(f"{name} {_number(nearest[name])}" for name in limits)
    both = f" The nearest that meets all at once: {together}." if len(limits) > 1 else ""
    raise UsageError(
        f"At least one network of the space must meet the budget ({asked}), but the least is {reach}.{both} "
        "Raise the limits to these, or take a space with smaller networks."
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:.4g}"
