"""A run that reads its teacher's logits from a store: every training sees the store's views, in the store's order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitesse.data.load import Parts
from vitesse.data.part import Batch
from vitesse.distill.licence import warning_about
from vitesse.distill.store import LogitStore
from vitesse.distill.store.views import check_views, recipe_of, views_of
from vitesse.losses.classification import dense_targets
from vitesse.tasks.teaching import Answers

_LEAST = 1e-12  # of a probability whose logarithm is taken


class Stored:
    """One store for all trainings of a run: supernet, finish, any student. `preprocess` is that of its views.

    smoothing: of the labels' targets, of which the store knows nothing.
    """

    def __init__(self, path: Path | str, *, smoothing: float) -> None:
        self.store = LogitStore.open(path)
        self.seed, self.augment, self.mix, self.preprocess = views_of(self.store.manifest.recipe, smoothing=smoothing)

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
        recipe = recipe_of(parts, augment=self.augment, mix=self.mix, seed=self.seed)
        self.store.check(recipe=recipe, classes=len(parts.classes))
        check_views(self.store, parts)

    def batches(self, parts: Parts, *, batch: int, epoch: int, start: int, rank: int, world: int) -> Iterator[Batch]:
        """The batches of an epoch of training: those of the stored epoch that serves it."""
        return parts.learn.train_batches(
            epoch=self.store.stored_epoch(epoch), batch=batch, seed=self.seed, augment=self.augment, mix=self.mix,
            start=start, rank=rank, world=world,
        )  # fmt: skip

    def answers(self, steps_per_epoch: int) -> Answers:
        """The teacher's stored word on a batch, as logits: the logarithm of its dense probabilities (B, classes)."""

        def answer(batch: Batch, step: int) -> Tensor:
            epoch = self.store.stored_epoch(step // steps_per_epoch)
            classes, values = self.store.read(epoch, batch.indices.cpu().numpy())
            device = batch.images.device
            places = torch.from_numpy(classes).to(device)
            dense = dense_targets(places, torch.from_numpy(values).to(device), total=self.store.classes)
            return dense.clamp(min=_LEAST).log()

        return answer
