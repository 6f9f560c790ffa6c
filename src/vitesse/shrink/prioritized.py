"""Prioritized paths in a run: what is held out, how paths are drawn, and the board that is left in the folder."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vitesse.arch import Backbone
from vitesse.data.augment import Augment
from vitesse.data.mix import Mix
from vitesse.data.part import Part
from vitesse.data.replay import Stream, permutation
from vitesse.errors import UsageError, VitesseError
from vitesse.runs.files import read_json, write_json
from vitesse.search.board import archs_of, to_plain
from vitesse.search.feasible import within
from vitesse.search.paths import drawing
from vitesse.shrink.costing import Costing, formula_costs
from vitesse.shrink.job import Job
from vitesse.shrink.scoring import calibration
from vitesse.supernet import Supernet
from vitesse.tasks.prioritized import HeldOut, Pictures, Prioritized
from vitesse.tasks.teaching import Teaching
from vitesse.train.settings import TrainSettings

BOARD = "board.json"
MOST_HELD = 8  # at most every so-manieth image of the learn part is held out


def prioritized(
    job: Job, supernet: Supernet, teaching: Teaching, settings: TrainSettings, *,
    pool: Sequence[Backbone], costing: Costing,
) -> tuple[Prioritized, Part]:  # fmt: skip
    """The losses of the supernet's training, and the part that it learns from, without what is held out."""
    chosen, learn = job.settings.supernet.prioritized, job.parts.learn
    _require(job, settings)
    pictures = _pictures(job)
    held = None
    if chosen.rule == "paper":
        count = max(chosen.references, min(chosen.held_out, len(learn) // MOST_HELD))
        # Drawn, because files lie class by class.
        places = permutation(job.settings.data.seed, 0, len(learn), stream=Stream.SAMPLE)[:count]
        learn = learn.without(places)
        device = job.accelerator.device
        held = HeldOut(
            places=tuple(places.tolist()),
            images=pictures(tuple(places.tolist())),
            labels=learn.labels[torch.from_numpy(places)].to(device),
            calibration=[images.to(device) for images in calibration(job, supernet.host)[:1]],
        )
        pictures = _among(held)
    steps_per_epoch = learn.steps(settings.batch)
    losses = Prioritized(
        drawing(supernet.space, chosen, pool=pool, feasible=_feasible(costing)), teaching, chosen,
        cost=lambda arch: formula_costs(arch)["macs"], pictures=pictures, held=held, classes=len(job.parts.classes),
        begin=int(chosen.begin * settings.epochs_of(steps_per_epoch) * steps_per_epoch), rate=settings.lr,
        seed=settings.seed, accelerator=job.accelerator,
    )  # fmt: skip
    return losses, learn


def _require(job: Job, settings: TrainSettings) -> None:
    chosen = job.settings.supernet.prioritized
    if chosen.rule == "paper" and job.store is not None:
        raise UsageError(
            "Prioritized paths hold images out, but the views of a store are of all images of the learn part. Train without "
            'the store, or set supernet.prioritized.rule = "published", which takes the accuracy of training batches.'
        )
    least = settings.batch // job.accelerator.num_processes // settings.accumulate
    if chosen.rule == "published" and least < chosen.references:
        raise UsageError(
            f"The published board keeps {chosen.references} images of a batch, but a process sees {least} at a time. "
            "Raise supernet.train.batch, or lower supernet.prioritized.references."
        )


def _feasible(costing: Costing) -> Callable[[Backbone], bool]:
    return lambda arch: within(costing(arch), costing.limits)


def _pictures(job: Job) -> Pictures:
    """Images of the learn part by their places, as they are; those of a board are read once."""

    @functools.lru_cache(maxsize=2 * job.settings.supernet.prioritized.size)
    def read(places: tuple[int, ...]) -> Tensor:
        views = job.parts.learn.views([np.array(places)], epoch=0, seed=0, augment=Augment(), mix=Mix())
        return next(views).to(job.accelerator.device)

    return read


def _among(held: HeldOut) -> Pictures:
    """The same for images that are held out, which need not be read."""
    rows = {place: row for row, place in enumerate(held.places)}
    return lambda places: held.images[[rows[place] for place in places]]


def leave_board(job: Job, losses: Prioritized, supernet: Supernet) -> None:
    """Look at the board once more, with the weights that are kept, and write it down."""
    losses.look_again(supernet)
    if job.main:
        write_json(job.path(BOARD), to_plain(losses.board))


def members_of(file: Path) -> tuple[Backbone, ...]:
    """The paths of the board that a training left; VitesseError where there is none, or it is no board."""
    if not file.is_file():
        raise UsageError(
            f"The strategy prioritized chooses among the paths of a board, but {file} does not exist. "
            "Train the supernet by the rule prioritized, or search by another strategy."
        )
    try:
        return archs_of(read_json(file))
    except (KeyError, TypeError, ValueError) as error:
        raise VitesseError(
            f"{file} holds no board ({type(error).__name__}: {error}). Train the supernet again."
        ) from error
