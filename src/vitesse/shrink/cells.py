"""The search for cells in a run: the cyclic search that finds them, and the network that is made of them for the budget."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vitesse.arch import Budget, CellNetwork, CellSpace, Genotype, cost, from_json, to_json
from vitesse.data.preprocess import Preprocess
from vitesse.deploy.latency_probe import LatencyProbe
from vitesse.errors import UsageError, VitesseError
from vitesse.nets import NetworkOfCells, build
from vitesse.nets.mixed_cells import MixedNetwork, taken
from vitesse.nets.statistics import recalibrate
from vitesse.runs.files import read_json, write_text
from vitesse.search.feasible import within
from vitesse.search.layouts import Fits, dearest, laid_out
from vitesse.shrink.costing import MARGIN, formula_costs, formula_limits
from vitesse.shrink.cyclic import BELIEFS, leave_beliefs, search_in_cycles
from vitesse.shrink.job import Job
from vitesse.shrink.scoring import calibration
from vitesse.shrink.searching import WINNER
from vitesse.tasks.classification import accuracy
from vitesse.tasks.cyclic.cells import PairOfCells
from vitesse.train.loop import Progress
from vitesse.zoo.cdarts import GENOTYPES, Kind, cell_space

LARGE = 96  # pixels of a side from which on images are brought to an eighth before the first cell


def space_of_cells(preprocess: Preprocess, *, classes: int, budget: Budget) -> CellSpace:
    """The published space for these images, that for CIFAR or where they are large that for ImageNet; and for the budget.

    Where the published cells have no room in it as many and as wide as they were while they were searched for, the networks of
    the search are as small as theirs would be.
    """
    kind: Kind = "imagenet" if min(preprocess.size) >= LARGE else "cifar"
    space = fitted_cells(cell_space(kind, classes=classes, image=preprocess.size), preprocess, classes=classes)
    published = (GENOTYPES[kind],) * len(space.depths)
    limits = formula_limits(budget)
    room = laid_out(space, published, lambda arch: within(formula_costs(arch), limits)) if limits else None
    if room is None:  # no limit, or one that `require_layout` refuses
        return space
    found = tuple(stage.depth for stage in room.stages)
    channels = min(space.channels, room.stages[0].channels)
    return replace(
        space,
        stem=space.network(published, channels=channels).stem,
        channels=channels,
        depths=tuple(map(min, space.depths, found)),
        found_depths=found,
    )


def fitted_cells(space: CellSpace, preprocess: Preprocess, *, classes: int) -> CellSpace:
    """A space of cells made to read these images and name these classes."""
    stem = replace(space.stem, image=preprocess.size, channels=preprocess.channels)
    return replace(space, stem=stem, head=replace(space.head, classes=classes))


def find_cells(
    job: Job, space: CellSpace, *, teacher: nn.Module | None, progress: Progress
) -> tuple[NetworkOfCells, dict[str, Any]]:
    """The cyclic search: the evaluation network of the cells that it found, and what the stage tells; leaves its beliefs."""
    settings = job.scaled(job.settings.supernet.train, offset=2)
    if settings.drop_path:
        raise UsageError(
            f"Cells are searched for without drop path, but supernet.train.drop_path is {settings.drop_path}. Set it to 0."
        )
    torch.manual_seed(settings.seed)
    pair = PairOfCells(space, job.settings.supernet.cyclic)
    calibrating = calibration(job, pair.found())

    def as_kept(pool: MixedNetwork, arch: CellNetwork) -> NetworkOfCells:
        network = taken(pool, arch).to(job.accelerator.device).eval()
        recalibrate(network, (one.to(job.accelerator.device) for one in calibrating))
        return network

    def evaluate(pool: MixedNetwork, arch: CellNetwork) -> float:
        return accuracy(as_kept(pool, arch), job.parts.search, accelerator=job.accelerator).value

    kept, beliefs = search_in_cycles(job, pair, settings, evaluate=evaluate, teacher=teacher, progress=progress)
    assert isinstance(kept, MixedNetwork)
    return as_kept(kept, pair.found()), leave_beliefs(job, pair, beliefs)


def require_layout(job: Job, space: CellSpace) -> None:
    """Refuse, before anything long, what cannot end in a network of found cells within the budget; UsageError."""
    settings = job.settings
    if settings.search.strategy != "cyclic":
        raise UsageError(
            "Cells are found by a cyclic search alone, which learns them while it trains, but the strategy is "
            f"{settings.search.strategy!r}. Give --strategy cyclic, or take another space."
        )
    if not settings.budget.limits():
        raise UsageError("Found cells are laid out for a budget, but none was given. Name one, such as --max-params.")
    if job.folder.done("search"):
        return
    smallest, limits = dearest(space), dict(settings.budget.limits())
    costs = dict(formula_costs(smallest))
    if "latency_ms" in limits:
        limits["latency_ms"] *= MARGIN
        with job.voice.stage("latency") as progress:
            costs["latency_ms"] = _probe(job)([smallest], progress=progress)[0].median_ms
    if not within(costs, limits):
        found = ", ".join(f"{name} {costs[name]:,.6g} of {limit:,.6g}" for name, limit in limits.items())
        raise UsageError(
            "Whatever cells are found, their smallest network must meet the budget, but that of the dearest cells does not: "
            f"{found}. Raise the limits."
        )


def lay_out(job: Job, space: CellSpace, *, source: Path, progress: Progress) -> dict[str, Any]:
    """The stage: the cells that the cyclic search of the run `source` found, as the network that the budget has room for."""
    if not job.main:
        return {}
    arch = laid_out(space, found_in(source / BELIEFS), _fits(job, progress))
    if arch is None:
        raise VitesseError(
            "The smallest network of the found cells must be fast enough, as that of the dearest ones was before, but when it "
            "was timed now it was not. Is the device busy? Start the same command again to measure once more."
        )
    write_text(job.path(WINNER), to_json(arch) + "\n")
    return {
        "strategy": "cyclic",
        "cells": len(arch.places),
        "channels": arch.stages[0].channels,
        "params": cost(arch).params,
    }


def found_in(file: Path) -> tuple[Genotype, ...]:
    """The cells of each stage that a cyclic search came to; VitesseError where the file does not say."""
    try:
        arch = from_json(read_json(file)["beliefs"][-1]["arch"])
        if not isinstance(arch, CellNetwork):
            raise ValueError("what it found are no cells")
    except (OSError, KeyError, TypeError, ValueError, IndexError) as error:
        raise VitesseError(
            f"{file} does not say what cells were found ({type(error).__name__}: {error}). Search for them again."
        ) from error
    return tuple(stage.genotype for stage in arch.stages)


def _fits(job: Job, progress: Progress) -> Fits:
    """Whether a network is within the budget: by formula, and where a latency is asked for also when it is timed."""
    limits, goal, probe = formula_limits(job.settings.budget), job.settings.budget.max_latency_ms, _probe(job)

    def fits(arch: CellNetwork) -> bool:
        able = within(formula_costs(arch), limits)
        return able and (goal is None or probe([arch], progress=progress)[0].median_ms <= MARGIN * goal)

    return fits


def _probe(job: Job) -> LatencyProbe:
    return LatencyProbe(build, runtime=job.settings.export.runtime, cache=job.path("latencies.jsonl"))
