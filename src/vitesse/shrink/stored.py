"""A run that reads its teacher's logits from a store: every training sees the store's views, in the store's order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitesse.data.augment import Ints
from vitesse.data.load import Parts
from vitesse.data.part import Batch
from vitesse.distill.licence import warning_about
from vitesse.distill.store import LogitStore
from vitesse.distill.store.views import check_views, is_published, require_recipe, samples_of, seeds_of, views_of
from vitesse.losses.classification import dense_targets
from vitesse.tasks.teaching import Answers

_LEAST = 1e-12  # of a probability whose logarithm is taken


class Stored:
    """One store for all trainings of a run: supernet, finish, any student.

    `preprocess` is that of its views; None where they may have any size, which then are cut from whole pictures
    (`whole_pictures`), so that none can be kept as a square.
    smoothing: of the labels' targets, of which the store knows nothing.
    """

    def __init__(self, path: Path | str, *, smoothing: float) -> None:
        self.store = LogitStore.open(path)
        self.seed, self.augment, self.mix, self.preprocess = views_of(self.store.manifest.recipe, smoothing=smoothing)
        self.whole_pictures = is_published(self.store)
        self._samples: Ints | None = None  # of each image of the learn part, its number in the store

    @property
    def teacher(self) -> dict[str, Any]:
        """Who spoke, as a run tells of its teacher."""
        told = self.store.manifest.teacher
        name, licence = str(told.get("name") or ""), told.get("licence")
        return {"model": name, "licence": licence, "licence_note": warning_about(name, licence)}

    @property
    def temperature(self) -> float:
        """What suits its records: where classes are left out their mass is spread evenly, and softening would swell it."""
        return 2.0 if self.store.top == self.store.classes else 1.0

    def require(self, parts: Parts) -> None:
        """Raise UsageError or VitesseError where its views are not those of these data, here and now."""
        require_recipe(self.store, parts)
        self.store.check(classes=len(parts.classes))
        check_views(self.store, parts)
        self._samples = samples_of(self.store, parts.learn)

    @property
    def samples(self) -> Ints:
        """The number in the store of each image to learn from, (N,); known once `require` has seen the data."""
        assert self._samples is not None, "the data were not compared with the store"
        return self._samples

    def batches(self, parts: Parts, *, batch: int, epoch: int, start: int, rank: int, world: int) -> Iterator[Batch]:
        """The batches of an epoch of training: those of the stored epoch that serves it."""
        stored = self.store.stored_epoch(epoch)
        return parts.learn.train_batches(
            epoch=stored, batch=batch, seed=self.seed, augment=self.augment, mix=self.mix, start=start, rank=rank,
            world=world, published=seeds_of(self.store, self.samples, epoch=stored),
        )  # fmt: skip

    def answers(self, steps_per_epoch: int) -> Answers:
        """The teacher's stored word on a batch, as logits: the logarithm of its dense probabilities (B, classes)."""

        def answer(batch: Batch, step: int) -> Tensor:
            epoch = self.store.stored_epoch(step // steps_per_epoch)
            classes, values = self.store.read(epoch, self.samples[batch.indices.cpu().numpy()])
            device = batch.images.device
            places = torch.from_numpy(classes).to(device)
            dense = dense_targets(places, torch.from_numpy(values).to(device), total=self.store.classes)
            return dense.clamp(min=_LEAST).log()

        return answer
