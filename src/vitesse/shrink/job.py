"""A run under way: its settings, its folder, its data, and what every stage needs of them."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from vitesse.data.augment import Augment
from vitesse.data.load import Parts, load_parts
from vitesse.data.mix import Mix
from vitesse.data.part import Batch, Part
from vitesse.data.preprocess import Preprocess
from vitesse.deploy.runtime import require_runtime
from vitesse.runs.folder import RunFolder
from vitesse.shrink.curves import Curves
from vitesse.shrink.settings import ShrinkSettings
from vitesse.shrink.stored import Stored
from vitesse.tasks.classification import Forward, accuracy
from vitesse.train.loop import Losses, Memory, Progress, Task, Watch, fit, require_optimizer
from vitesse.train.processes import Accelerator, processes
from vitesse.train.settings import TrainSettings

# Opens the progress of a stage for a person to look at: `with stage("supernet") as progress: ...`.
Stages = Callable[[str], AbstractContextManager[Progress]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Voice:
    """How a run speaks to a person: the progress of its stages, and remarks between them."""

    stage: Stages
    say: Callable[[str], None]


class Work:
    """A run of any kind: its folder, its stages, and how it speaks."""

    def __init__(self, folder: RunFolder, *, voice: Voice) -> None:
        self.folder, self.voice = folder, voice
        self.accelerator: Accelerator = processes()

    @property
    def main(self) -> bool:
        """Whether this process is the one that writes."""
        return bool(self.accelerator.is_main_process)

    def path(self, name: str) -> Path:
        """A file of the run."""
        return self.folder.path / name

    def do(self, stage: str, work: Callable[[Progress], dict[str, Any]]) -> dict[str, Any]:
        """Run a stage, or take what it left where it is done already; its outputs are plain values."""
        if not self.folder.done(stage):
            begun = time.monotonic()
            with self.voice.stage(stage) as progress:
                outputs = work(progress)
            if self.main:
                self.folder.finish(stage, outputs, seconds=time.monotonic() - begun)
            self.accelerator.wait_for_everyone()
        found: dict[str, Any] = self.folder.outputs(stage)
        return found

    def watched_fit(
        self, network: nn.Module, settings: TrainSettings, *, task: Task, stage: str, progress: Progress
    ) -> nn.Module:
        """Train, with checkpoints and curves in the folder; returns what to keep, in evaluation mode."""
        with self.watching(stage, progress) as watch:
            kept = fit(network, settings, task=task, checkpoint=self.path(f"checkpoints/{stage}.pt"), watch=watch)
        return kept.eval()

    @contextmanager
    def watching(self, stage: str, progress: Progress) -> Iterator[Watch]:
        """Where a training tells how it goes; its curves stand in the folder."""
        watch = Watch(say=self.voice.say, progress=progress)
        curves = Curves(self.folder, stage)
        if self.main:
            watch = replace(watch, log=curves.log, rewind=curves.rewind)
        yield watch
        curves.close()


class Job(Work):
    """A run of `vitesse shrink` or of one of its parts. Data are read when they are first asked for, once."""

    def __init__(self, settings: ShrinkSettings, folder: RunFolder, *, voice: Voice) -> None:
        super().__init__(folder, voice=voice)
        self.settings = settings
        for train in (settings.teacher.train, settings.teacher.tune, settings.supernet.train, settings.finish):
            require_optimizer(train.optimizer)  # now, not after the stages before
        for runtime in (settings.export.runtime, *settings.export.runtimes):
            require_runtime(runtime)
        stored = settings.teacher.store
        self.store = Stored(stored, smoothing=settings.mix.smoothing) if stored else None
        # Set by a teacher or a student that brings its own; the views of a store are what they are.
        self.preprocess: Preprocess | None = None if self.store is None else self.store.preprocess

    @functools.cached_property
    def parts(self) -> Parts:
        """The data in three disjoint parts; nothing but the last stage touches `test`."""
        with self.voice.stage("data") as progress:
            data = self.settings.data
            if self.store is not None and self.store.whole_pictures:
                data = replace(data, cache_bytes=0)
            parts = load_parts(data, preprocess=self.preprocess, progress=progress)
        for note in parts.notes:
            self.voice.say(note)
        if self.store is not None:
            self.store.require(parts)
        return parts

    @property
    def augment(self) -> Augment:
        """How training images are changed: as set, or what suits the data."""
        return self.settings.augment or Augment.suited(self.settings.data.source)

    def drawn(self, batch: int, count: int) -> Iterator[Batch]:
        """Up to `count` batches of the learn part, plain but in a drawn order: a folder's own is class by class."""
        batches = self.parts.learn.train_batches(epoch=0, batch=batch, seed=0, augment=Augment(), mix=Mix())
        return itertools.islice(batches, count)

    def scaled(self, train: TrainSettings, *, offset: int) -> TrainSettings:
        """A stage's training by the run's effort and seed; `offset` gives each stage a seed of its own."""
        return scaled(train, effort=self.settings.effort, seed=self.settings.seed + 1000 * offset)

    def train(
        self,
        network: nn.Module,
        settings: TrainSettings,
        *,
        stage: str,
        losses: Losses,
        progress: Progress,
        forward: Callable[[nn.Module], Forward] = lambda network: network,
        agreement: Callable[[nn.Module], float] | None = None,
        memory: Memory | None = None,
        learn: Part | None = None,
    ) -> nn.Module:
        """Train on the learn part, looking at the search part; returns what to keep.

        `forward` says how the network under training is asked for logits; `agreement` is looked at instead of the
        accuracy where there are no classes; `memory` is what the losses keep; `learn` is the learn part without some images.
        """
        parts, mix = self.parts if learn is None else replace(self.parts, learn=learn), self.settings.mix
        if self.store is not None:
            self.store.store.check(batch=settings.batch)
            epochs = settings.epochs_of(parts.learn.steps(settings.batch))
            if (reused := self.store.store.reuse(epochs)) is not None:
                self.voice.say(reused)

        def batches(epoch: int, start: int, rank: int, world: int) -> Iterator[Batch]:
            if self.store is not None:
                return self.store.batches(parts, batch=settings.batch, epoch=epoch, start=start, rank=rank, world=world)
            return parts.learn.train_batches(
                epoch=epoch, batch=settings.batch, seed=settings.seed, augment=self.augment, mix=mix,
                start=start, rank=rank, world=world,
            )  # fmt: skip

        def score(network: nn.Module) -> float:
            return accuracy(forward(network), parts.search, accelerator=self.accelerator).value

        task = Task(
            losses=losses,
            batches=batches,
            steps_per_epoch=parts.learn.steps(settings.batch),
            evaluate=agreement or score,
            chance=0.0 if agreement else 1 / len(parts.classes),
            measure="agreement" if agreement else "accuracy",
            memory=memory,
        )
        return self.watched_fit(network, settings, task=task, stage=stage, progress=progress)


def scaled(train: TrainSettings, *, effort: float, seed: int) -> TrainSettings:
    """A training made longer or shorter by `effort`, its seed counted from the run's."""
    steps = max(1, round(train.steps * effort))
    epochs = max(1, round(train.epochs * effort)) if train.epochs else 0
    return replace(train, steps=steps, epochs=epochs, seed=seed + train.seed)
