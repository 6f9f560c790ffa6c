"""The search of a run: candidates within the budget, scored with inherited weights; the winner is cut out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vitesse.arch import Backbone, Options, size, space_from_json, to_data, to_json
from vitesse.errors import VitesseError
from vitesse.runs.files import write_text
from vitesse.search.board_members import BoardMembers
from vitesse.search.candidate import Candidate, Strategy
from vitesse.search.contraction import Contraction
from vitesse.search.evolution import Evolution
from vitesse.search.feasible import within
from vitesse.search.likelihood import Likeliest
from vitesse.search.loop import search
from vitesse.search.nsga2 import NSGA2
from vitesse.search.pareto import winner
from vitesse.search.random_search import RandomSearch
from vitesse.shrink.costing import Costing
from vitesse.shrink.cyclic import BELIEFS, believed_in
from vitesse.shrink.job import Job
from vitesse.shrink.prioritized import BOARD, members_of
from vitesse.shrink.scoring import Scorer, calibration
from vitesse.shrink.settings import SearchSettings
from vitesse.supernet import Supernet
from vitesse.train.loop import Progress

WINNER = "arch.json"
CANDIDATES = "candidates.jsonl"
TIGHTENINGS = 3


def strategy_of(settings: SearchSettings, limits: Mapping[str, float], *, source: Path) -> Strategy:
    """The strategy that the settings name; a population other than the published 50 keeps its proportions.

    source: the folder of the supernet's run, in which its training may have left a board, or what it believes in.
    """
    if settings.strategy == "prioritized":
        return BoardMembers(members=members_of(source / BOARD))
    if settings.strategy == "cyclic":
        return Likeliest(likelihood=believed_in(source / BELIEFS), population=settings.population)
    if settings.strategy == "random":
        return RandomSearch(population=settings.population)
    if settings.strategy == "nsga2":
        return NSGA2(population=settings.population, costs=tuple(limits) or ("params",))
    if settings.strategy == "contraction":
        return Contraction(population=settings.population)
    half = settings.population // 2
    return Evolution(
        population=settings.population, parents=max(2, settings.population // 5), mutants=half, crossovers=half
    )


def run_search(job: Job, supernet: Supernet, *, source: Path, costing: Costing, progress: Progress) -> dict[str, Any]:
    """The stage: leaves the study, all candidates, and the winner's architecture. source: the folder of the supernet's run."""
    if job.main:
        found = _search(job, supernet, source=source, costing=costing, progress=progress)
        write_text(job.path(WINNER), to_json(found["winner"].arch) + "\n")
        lines = [json.dumps(_line(candidate)) for candidate in found["history"]]
        write_text(job.path(CANDIDATES), "\n".join(lines) + "\n")
        return {
            "space_size": f"{size(supernet.space):.3g}",
            "strategy": job.settings.search.strategy,
            "candidates": len(found["history"]),
            "score": found["winner"].score,
        } | sharing(supernet.space, found["history"], found["winner"], limits=costing.limits)
    return {}


def sharing(
    space: Backbone, history: Sequence[Candidate], chosen: Candidate, *, limits: Mapping[str, float]
) -> dict[str, Any]:
    """What a search chose of how many blocks share weights, and the best within the limits with and without it.

    Nothing where the space leaves no choice.
    """
    if not any(isinstance(stage.share, Options) for stage in space.stages):
        return {}
    able = [one for one in history if within(one.costs, limits)]
    best = {}
    for name, wanted in (("shared", True), ("unshared", False)):
        kind = [one for one in able if any(stage.group > 1 for stage in one.arch.stages) == wanted]
        first = winner(kind, {}) if kind else None
        best[name] = (
            None if first is None else {"score": first.score, "params": first.costs["params"], "candidates": len(kind)}
        )
    return {"sharing": {"share": [stage.group for stage in chosen.arch.stages], **best}}


def winner_arch(job: Job) -> Backbone:
    """The architecture that the search left."""
    return space_from_json(job.path(WINNER).read_text(encoding="utf-8"))


def _search(job: Job, supernet: Supernet, *, source: Path, costing: Costing, progress: Progress) -> dict[str, Any]:
    settings = job.settings.search
    score = Scorer(
        supernet, job.parts.search, accelerator=job.accelerator,
        batch=settings.batch, z=settings.z, precision=settings.precision,
        calibration=calibration(job, supernet.host),
    )  # fmt: skip
    limits = dict(costing.limits)
    # A regression may be off where the winner lies: then the search goes on below a lower predicted latency.
    for attempt in range(TIGHTENINGS):
        history = search(
            supernet.space,
            strategy=strategy_of(settings, limits, source=source),
            score=score,
            costs=costing,
            limits=limits,
            storage=settings.storage or job.path("study.db"),
            seed=job.settings.seed + attempt,
            generations=settings.generations,
            progress=progress,
        )
        best = _winner(history, limits, costing=costing, progress=progress)
        if best is not None:
            return {"history": history, "winner": best}
        limits["latency_ms"] *= 0.85
        job.voice.say(
            f"No finalist was fast enough when measured: searching below {limits['latency_ms']:.3g} ms predicted."
        )
    raise VitesseError(
        f"A winner must take at most {costing.limits['latency_ms']:.3g} ms, but none of the finalists measured so in "
        f"{TIGHTENINGS} searches. Raise --max-latency, or leave the device idle while it is measured."
    )


def _winner(
    history: list[Candidate], limits: Mapping[str, float], *, costing: Costing, progress: Progress
) -> Candidate | None:
    if "latency_ms" not in limits:
        return winner(history, limits)
    return costing.measured_winner(history, lambda able: winner(able, limits), progress)


def _line(candidate: Candidate) -> dict[str, Any]:
    return {
        "arch": to_data(candidate.arch),
        "score": candidate.score,
        "costs": {name: float(value) for name, value in candidate.costs.items()},
        "origin": candidate.origin,
        "generation": candidate.generation,
    }
