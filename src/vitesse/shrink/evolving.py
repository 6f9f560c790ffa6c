"""The evolution of a run's space: the supernet of the space is trained and judged, the space moves, and it is trained on.

Weights go from one space to the next (`weights.carry`), so a move costs a share of a training and not a whole one. Each
training and each judgement is a stage of the run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from vitesse.arch import Backbone, size, space_from_json, tensors
from vitesse.errors import VitesseError
from vitesse.runs.files import write_json
from vitesse.saved import save_network
from vitesse.search.space_evolution import Measured, measure
from vitesse.shrink.costing import Costing
from vitesse.shrink.job import Job
from vitesse.shrink.scoring import Scorer, calibration
from vitesse.shrink.supernet import begun, leave, load_supernet, taught
from vitesse.supernet import Supernet
from vitesse.train.loop import Progress
from vitesse.train.settings import TrainSettings
from vitesse.weights.carry import carry

HISTORY = "space_evolution.json"
Priced = Callable[[Job, Backbone], Costing]


def evolve_space(
    job: Job, space: Backbone, *, costing: Costing, priced: Priced, teacher: nn.Module | None
) -> tuple[Backbone, Costing]:
    """The space after its moves, and its costs; its trained supernet lies where that of a run without moves would.

    costing: of the first space; `priced` makes that of another. What every space was like, and where it moved, is left in
    `space_evolution.json`, its candidates in `spaces/N/study.db`. It ends early where nothing moves.
    """
    told: list[dict[str, Any]] = []
    epochs = 0
    for move in range(job.settings.evolve.moves + 1):
        name = f"space-{move}"
        settings = _training(job, move)
        before = None if move == 0 else space_from_json(told[-1]["space"])
        job.do(f"{name}-supernet", partial(
            _train, job, space, move=move, before=before, settings=settings, costing=costing, teacher=teacher))  # fmt: skip
        found = job.do(name, partial(_judge, job, space, move=move, costing=costing))
        epochs += settings.epochs_of(job.parts.learn.steps(settings.batch))
        told.append({**found, "supernet_epochs": epochs})
        if job.main:
            write_json(job.path(HISTORY), {"spaces": told})
        following = space_from_json(found["following"])
        if following == space or move == job.settings.evolve.moves:
            break
        space, costing = following, priced(job, following)
    job.do("supernet", partial(_settle, job, space, move=move))
    return space, costing


def _training(job: Job, move: int) -> TrainSettings:
    """The first supernet's training as it is set; later ones by their share, each with a seed of its own."""
    settings = job.scaled(job.settings.supernet.train, offset=2)
    if move == 0:
        return settings
    share = job.settings.evolve.train
    epochs = max(1, round(settings.epochs * share)) if settings.epochs else 0
    return replace(settings, steps=max(1, round(settings.steps * share)), epochs=epochs, seed=settings.seed + move)


def _train(
    job: Job, space: Backbone, progress: Progress, *, move: int, before: Backbone | None, settings: TrainSettings,
    costing: Costing, teacher: nn.Module | None,
) -> dict[str, Any]:  # fmt: skip
    """The stage: leaves the trained supernet of the space, begun with that of the space before."""
    if before is None:
        supernet, _ = begun(job, space, teacher, settings)
    else:
        supernet = carried(load_supernet(job.path(_file(move - 1)), before), space, settings)
    stage = f"space-{move}-supernet"
    kept = taught(job, supernet, settings, stage=stage, costing=costing, teacher=teacher, progress=progress)
    if job.main:
        save_network(kept.network, job.path(_file(move)))
    return {}


def carried(supernet: Supernet, space: Backbone, settings: TrainSettings) -> Supernet:
    """The supernet of another space, with all weights that both have; what is new begins as in any network."""
    torch.manual_seed(settings.seed)
    moved = Supernet(space, drop_path=settings.drop_path)
    own = moved.network.state_dict()
    state = carry(supernet.network.state_dict(), tensors(supernet.host), own, tensors(moved.host))
    moved.network.load_state_dict(state)
    return moved


def _judge(job: Job, space: Backbone, progress: Progress, *, move: int, costing: Costing) -> dict[str, Any]:
    """The stage: the errors of the space's networks with inherited weights on the search part, and the next space."""
    if not job.main:
        return {}
    supernet = load_supernet(job.path(_file(move)), space)
    found = judged(job, supernet, costing, study=f"spaces/{move}/study.db", progress=progress)
    if 1 - found.error.top <= 1.1 / len(job.parts.classes):
        raise VitesseError(
            "A space is judged by networks that have learned something, but the best of the supernet's are right in "
            f"{1 - found.error.top:.1%}, as by guessing. Train longer (supernet.train.steps, --effort), or try another lr."
        )
    moves = [f"{name} to {list(options)}" for name, options in found.changes.items()]
    job.voice.say(
        f"Space {move + 1}: E-T error {found.error.both:.2%} ± {found.error.both_error:.2%} over "
        f"{found.error.networks} networks. " + ("Moves: " + "; ".join(moves) if moves else "Nothing moves.")
    )
    return found.to_dict()


def judged(
    job: Job, supernet: Supernet, costing: Costing, *, study: str,
    progress: Progress = lambda done, total, note: None,
) -> Measured:  # fmt: skip
    """What the networks of a supernet say about its space, by their accuracy on the search part; kept in `study`."""
    settings = job.settings.search
    score = Scorer(
        supernet, job.parts.search, accelerator=job.accelerator, batch=settings.batch, z=0.0,
        precision=settings.precision, calibration=calibration(job, supernet.host),
    )  # fmt: skip
    return measure(
        supernet.space, score=score, costs=costing, limits=costing.limits, settings=job.settings.evolve,
        storage=job.path(study), seed=job.settings.seed, progress=progress,
    )  # fmt: skip


def _settle(job: Job, space: Backbone, progress: Progress, *, move: int) -> dict[str, Any]:
    """The stage: the last space's supernet becomes the run's."""
    if job.main:
        leave(job, load_supernet(job.path(_file(move)), space))
    return {"space_size": f"{size(space):.3g}", "moves": move}


def _file(move: int) -> str:
    return f"spaces/{move}/model.safetensors"
