"""The cyclic search in a run: the stage that trains its two networks, and what they believe, left in the folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vitesse.arch import Backbone, size
from vitesse.data.part import Batch
from vitesse.data.replay import Stream, permutation
from vitesse.errors import UsageError, VitesseError
from vitesse.runs.files import read_json, write_json
from vitesse.search.feasible import within
from vitesse.search.likelihood import Likelihood
from vitesse.shrink.costing import Costing
from vitesse.shrink.job import Job
from vitesse.shrink.scoring import calibration
from vitesse.shrink.teacher import teaching_of
from vitesse.supernet import Supernet
from vitesse.tasks.classification import accuracy
from vitesse.tasks.cyclic.blocks import PairOfBlocks
from vitesse.tasks.cyclic.loop import Beliefs, CyclicTask, certainty, learn
from vitesse.tasks.cyclic.pair import Pair
from vitesse.train.loop import Progress
from vitesse.train.settings import TrainSettings

BELIEFS = "supernet/beliefs.json"


def train_cyclic(
    job: Job, space: Backbone, *, costing: Costing, teacher: nn.Module | None, progress: Progress
) -> tuple[Supernet, dict[str, Any]]:
    """The evaluation network after a cyclic search, and what the stage tells; leaves what was believed after each cycle."""
    settings = job.scaled(job.settings.supernet.train, offset=2)
    torch.manual_seed(settings.seed)
    pair = PairOfBlocks(
        space,
        job.settings.supernet.cyclic,
        feasible=lambda arch: within(costing(arch), costing.limits),
        drop_path=settings.drop_path,
    )
    calibrating = calibration(job, pair.evaluation.host)

    def evaluate(supernet: Supernet, arch: Backbone) -> float:
        own = supernet.statistics(arch, (images.to(job.accelerator.device) for images in calibrating))
        return accuracy(
            lambda images: supernet(images, arch, statistics=own), job.parts.search, accelerator=job.accelerator
        ).value

    kept, beliefs = search_in_cycles(job, pair, settings, evaluate=evaluate, teacher=teacher, progress=progress)
    assert isinstance(kept, Supernet)
    kept.network.preprocess, kept.network.class_names = job.parts.preprocess, job.parts.classes
    return kept, {"space_size": f"{size(space):.3g}"} | leave_beliefs(job, pair, beliefs)


def search_in_cycles(
    job: Job,
    pair: Pair[Any],
    settings: TrainSettings,
    *,
    evaluate: Callable[[Any, Any], float],
    teacher: nn.Module | None,
    progress: Progress,
) -> tuple[nn.Module, Beliefs]:
    """Train a pair on two halves of the learn part; the evaluation network as it is kept, and what was believed."""
    if job.store is not None:
        raise UsageError(
            "A cyclic search divides the learn part into two halves, but the views of a store are of all its images. "
            "Leave the store out of this run; the finishing of the winner may read it in another one."
        )
    part = job.parts.learn
    # Drawn, because files lie class by class: the published halves are of different classes.
    order = permutation(job.settings.data.seed, 0, len(part), stream=Stream.SPLIT)
    middle = len(order) // 2
    halves = part.without(order[middle:]), part.without(order[:middle])

    def batches(half: int, epoch: int, start: int, rank: int, world: int) -> Iterator[Batch]:
        return halves[half].train_batches(
            epoch=epoch, batch=settings.batch, seed=settings.seed + half, augment=job.augment, mix=job.settings.mix,
            start=start, rank=rank, world=world,
        )  # fmt: skip

    task = CyclicTask(
        batches=batches,
        steps_per_epoch=min(half.steps(settings.batch) for half in halves),
        evaluate=evaluate,
        teaching=teaching_of(job, teacher, train=settings).logits_only(),
    )
    with job.watching("supernet", progress) as watch:
        return learn(pair, settings, task=task, checkpoint=job.path("checkpoints/supernet.pt"), watch=watch)


def leave_beliefs(job: Job, pair: Pair[Any], beliefs: Beliefs) -> dict[str, Any]:
    """Write what was believed after each cycle; what the stage tells of it."""
    if job.main:
        told = {"repeat": pair.settings.repeat, "candidates": pair.candidates(), "beliefs": beliefs}
        write_json(job.path(BELIEFS), told)
    return {"cycles": len(beliefs), "certainty": certainty(pair.logits())}


def believed_in(file: Path) -> Likelihood:
    """The distribution over networks that a cyclic search came to.

    UsageError where there is no such file, VitesseError where it is damaged.
    """
    if not file.is_file():
        raise UsageError(
            f"The strategy cyclic proposes what a cyclic search believes in, but {file} does not exist. "
            "Train the supernet by the rule cyclic, or search by another strategy."
        )
    try:
        data = read_json(file)
        logits = {str(key): tuple(map(float, one)) for key, one in data["beliefs"][-1]["logits"].items()}
        return Likelihood(logits=logits, repeat=bool(data["repeat"]))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise VitesseError(
            f"{file} does not say what a cyclic search believed ({type(error).__name__}: {error}). Train the supernet again."
        ) from error
