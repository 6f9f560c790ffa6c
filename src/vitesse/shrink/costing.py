"""What candidates cost: by formula, and where a latency is asked for, by a regression over networks that were timed."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from vitesse.arch import Arch, Backbone, Budget, cost, smallest
from vitesse.deploy.latency_probe import LatencyProbe
from vitesse.nets import build
from vitesse.search.candidate import Candidate
from vitesse.search.feasible import within
from vitesse.search.latency import LatencyModel, sample_for_fit
from vitesse.search.pareto import finalists
from vitesse.shrink.job import Job
from vitesse.train.loop import Progress

MARGIN = 0.95  # a winner is measured again after training, and a measurement varies by a few per cent
FINALISTS = 8


def formula_costs(arch: Arch) -> Mapping[str, float]:
    """Parameters, multiply-adds and memory of one image."""
    return cost(arch).to_dict()


def formula_limits(budget: Budget) -> dict[str, float]:
    """The limits that need no measuring."""
    return {name: limit for name, limit in budget.limits().items() if name != "latency_ms"}


class Costing:
    """`costing(arch) -> {"params": ..., "latency_ms": ...}` and the limits that a search keeps to."""

    def __init__(self, job: Job, space: Backbone) -> None:
        self.job, self.space = job, space
        self.limits = dict(job.settings.budget.limits())
        self.model: LatencyModel | None = None
        self.probe = LatencyProbe(build, runtime=job.settings.export.runtime, cache=job.path("latencies.jsonl"))

    def __call__(self, arch: Backbone) -> Mapping[str, float]:
        if self.model is None:
            return formula_costs(arch)
        return {**formula_costs(arch), "latency_ms": max(self.model.predict(arch), 1e-6)}

    def formula_limits(self) -> dict[str, float]:
        """The limits that need no measuring."""
        return formula_limits(self.job.settings.budget)

    def measure_smallest(self, progress: Progress) -> float:
        """The measured latency of the space's smallest network: less cannot be asked for."""
        return self.probe([smallest(self.space)], progress=progress)[0].median_ms

    def fit(self, progress: Progress) -> None:
        """Time a sample of the space in the runtime that will serve, and fit the regression to it; says its error."""
        archs = sample_for_fit(self.space, self.job.settings.search.measured, rng=random.Random(self.job.settings.seed))
        measured = [latency.median_ms for latency in self.probe(archs, progress=progress)]
        self.model = LatencyModel.fit(archs, measured)
        self.job.voice.say(
            f"Latency model over {len(archs)} measured networks ({min(measured):.3g} to {max(measured):.3g} ms): "
            f"mean error {self.model.error_ms:.3g} ms, 90th percentile {self.model.error_p90_ms:.3g} ms (left out one by one)."
        )

    def measured_winner(
        self, history: list[Candidate], best: Callable[[list[Candidate]], Candidate], progress: Progress
    ) -> Candidate | None:
        """The best candidate whose measured latency is within the limit; None where none of the finalists is."""
        goal = MARGIN * self.limits["latency_ms"]
        pool = [one for one in history if within(one.costs, self.limits)]
        final = finalists(pool, self.limits, FINALISTS)
        latencies = self.probe([one.arch for one in final], progress=progress)
        able = [one for one, latency in zip(final, latencies, strict=True) if latency.median_ms <= goal]
        return best(able) if able else None
