"""A teacher's answers on every training view, written into a store by one process or by many."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from vitesse.data import Augment, DataSettings, Mix, Parts
from vitesse.distill.store.making import begin, finish, shard_size, shards_to_write
from vitesse.distill.store.manifest import BLOCK, Manifest
from vitesse.distill.store.reading import LogitStore
from vitesse.distill.store.records import FLOAT16, Floats, Ints, Layout, Values
from vitesse.distill.store.shards import Shard, ShardWriter
from vitesse.distill.store.views import probe, recipe_of, views_of
from vitesse.errors import UsageError
from vitesse.runs.facts import versions
from vitesse.runs.lock import lock
from vitesse.runs.settings import settings_tree
from vitesse.train.processes import Accelerator, autocast, processes

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherFacts:
    """What a store says of its teacher: its name, and the licence of its weights where it is known."""

    name: str
    licence: str | None = None


def plan(
    teacher: nn.Module,
    parts: Parts,
    *,
    facts: TeacherFacts,
    epochs: range,
    augment: Augment,
    mix: Mix,
    seed: int,
    top: int | None = None,
    values: Values = FLOAT16,
    precision: Literal["fp32", "bf16"] = "fp32",
    writers: int = 1,
    data: DataSettings | None = None,
) -> Manifest:
    """Say what a store will be, before anything is written: `making.store_size(plan)` is its size in bytes.

    top: classes kept of each view; None for 10, or all where the teacher tells fewer. values: "float16", or "uint8" for
    half the bytes and a coarser value. precision: of the teacher's forward pass. writers: processes that will write.
    data: how `parts` were read, so that a later look at the store can read them again.
    """
    if epochs.step != 1 or not len(epochs) or epochs.start < 0:
        raise UsageError(f"Epochs are a range such as range(0, 30), but got {epochs}.")
    classes = _classes_of(teacher, parts)
    return Manifest(
        layout=Layout(classes=classes, top=min(10, classes) if top is None else top, values=values),
        samples=len(parts.learn),
        first=epochs.start,
        epochs=len(epochs),
        shard=shard_size(len(parts.learn), block=BLOCK, writers=writers),
        teacher={
            "name": facts.name,
            "licence": facts.licence,
            "fingerprint": fingerprint(teacher),
            "precision": precision,
        },
        recipe=recipe_of(parts, augment=augment, mix=mix, seed=seed),
        made={
            "data": None if data is None else settings_tree(data),
            "versions": versions(),
            "probe": probe(parts, augment=augment, mix=mix, seed=seed, epoch=epochs.start),
        },
    )


def write(
    path: Path | str,
    teacher: nn.Module,
    parts: Parts,
    *,
    plan: Manifest,
    batch: int = 64,
    commit_seconds: float = 10.0,
    progress: Progress | None = None,
) -> LogitStore | None:
    """Write the store of `plan` into the folder `path`, or go on with it; under torchrun each process writes its share.

    teacher: any module from images (B, C, H, W) to logits (B, classes). batch: images of one forward pass, at most a block
    of the store. commit_seconds: how much work a kill can cost. Returns the store in the first process, None in the others.
    Raises UsageError where another store is there, VitesseError where the disk has too little room.
    """
    if batch < 1:
        raise UsageError(f"A batch holds at least 1 image, but got {batch}.")
    folder, accelerator = Path(path), processes()
    with contextlib.ExitStack() as stack:
        if accelerator.is_main_process:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(contextlib.closing(lock(folder)))
            plan = begin(folder, plan)
        accelerator.wait_for_everyone()
        manifest = Manifest.load(folder)
        answers = Answers(teacher, manifest, accelerator)
        mine = list(shards_to_write(folder, manifest, rank=accelerator.process_index, world=accelerator.num_processes))
        told = _Telling(sum(shard.samples - shard.written() for shard in mine), progress)
        for shard in mine:
            _fill(shard, parts, answers, batch=batch, commit_seconds=commit_seconds, told=told)
        accelerator.wait_for_everyone()
        return finish(folder, manifest) if accelerator.is_main_process else None


def top_of(logits: Tensor, top: int) -> tuple[Ints, Floats]:
    """The `top` most probable classes of logits (B, classes), and their probabilities, softmax in float32, descending."""
    found = logits.float().softmax(-1).topk(top)
    return found.indices.cpu().numpy(), found.values.cpu().numpy()


def fingerprint(teacher: nn.Module) -> str:
    """A digest of a module's weights and buffers, by name."""
    state = hashlib.blake2b(digest_size=16)
    for name, tensor in teacher.state_dict().items():
        state.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        state.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()


class Answers:
    """A teacher, ready to be asked."""

    def __init__(self, teacher: nn.Module, manifest: Manifest, accelerator: Accelerator) -> None:
        self._teacher = teacher.to(accelerator.device).eval()
        self._top = manifest.layout.top
        self._precision, self._accelerator = str(manifest.teacher.get("precision")), accelerator

    @torch.inference_mode()
    def top(self, images: Tensor) -> tuple[Ints, Floats]:
        """Its most probable classes of images (B, C, H, W), as they are stored."""
        return top_of(self.logits(images), self._top)

    def logits(self, images: Tensor) -> Tensor:
        """What the teacher makes of images (B, C, H, W), in the precision of the store: (B, classes)."""
        with autocast(self._precision, self._accelerator):
            logits: Tensor = self._teacher(images.to(self._accelerator.device, non_blocking=True))
            return logits


class _Telling:
    """How far this process has come, told to whoever looks on."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._done, self._total, self._progress = 0, total, progress

    def __call__(self, records: int, note: str) -> None:
        self._done += records
        if self._progress is not None:
            self._progress(self._done, self._total, note)


def _fill(shard: Shard, parts: Parts, answers: Answers, *, batch: int, commit_seconds: float, told: _Telling) -> None:
    """Write the rest of a shard. Batches begin anew with each block, so that a restart asks the teacher alike."""
    seed, augment, mix, _ = views_of(shard.manifest.recipe)
    with ShardWriter(shard) as writer:
        blocks = [shard.block(number) for number in range(writer.samples // shard.manifest.block, shard.blocks)]
        cuts = [[*range(span.start, span.stop, batch), span.stop] for span in blocks]
        batches = [shard.start + np.arange(low, high) for edges in cuts for low, high in itertools.pairwise(edges)]
        views = parts.learn.views(batches, epoch=shard.epoch, seed=seed, augment=augment, mix=mix)
        last = time.monotonic()
        for edges in cuts:
            found = [answers.top(next(views)) for _ in itertools.pairwise(edges)]
            writer.append(*(np.concatenate(column) for column in zip(*found, strict=True)))
            told(edges[-1] - edges[0], f"epoch {shard.epoch}")
            if time.monotonic() - last >= commit_seconds:
                writer.commit()
                last = time.monotonic()


@torch.inference_mode()
def _classes_of(teacher: nn.Module, parts: Parts) -> int:
    """How many classes the teacher tells, found by asking; UsageError where it gives no logits, or names other classes."""
    device = processes().device
    logits = teacher.to(device).eval()(next(parts.learn.batches(2)).images.to(device))
    if not isinstance(logits, Tensor) or logits.ndim != 2 or not logits.isfinite().all():
        what = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise UsageError(
            f"A teacher gives finite logits (B, classes), but this one gave {what}. Wrap it in a module that does."
        )
    names = tuple(getattr(teacher, "class_names", ()))
    if len(names) == len(parts.classes) and names != parts.classes:
        raise UsageError(
            "The teacher and the data must name the same classes in the same order, but the first that differ are "
            f"{next((a, b) for a, b in zip(names, parts.classes, strict=True) if a != b)}. Train the teacher on these data."
        )
    return logits.shape[1]
