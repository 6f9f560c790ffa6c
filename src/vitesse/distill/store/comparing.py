"""The teacher asked once more about some stored views: does the store say what it says?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from vitesse.data import Parts
from vitesse.distill.store.reading import LogitStore
from vitesse.distill.store.records import BOUNDS
from vitesse.distill.store.views import require_recipe, samples_of, seeds_of, views_of
from vitesse.distill.store.writing import Answers, fingerprint
from vitesse.train.processes import processes

# What other batches and other kernels may change of a probability, beside the rounding of what is stored.
_SLACK: Final = {"fp32": 1e-3, "bf16": 2e-2}


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """How far stored probabilities are from live ones: the greatest and the mean difference over `samples` views.

    same_first: the share of views whose most probable class is the same. same_weights: whether the teacher has the
    weights that the store was written with.
    """

    samples: int
    greatest: float
    mean: float
    same_first: float
    same_weights: bool
    tolerance: float

    @property
    def agrees(self) -> bool:
        """Whether no difference is beyond the tolerance."""
        return self.greatest <= self.tolerance


def default_tolerance(store: LogitStore) -> float:
    """The rounding of the stored type, and what other kernels may change in the teacher's precision."""
    precision = str(store.manifest.teacher.get("precision"))
    return BOUNDS[store.manifest.layout.values] + _SLACK.get(precision, _SLACK["fp32"])


@torch.inference_mode()
def compare(
    store: LogitStore,
    teacher: nn.Module,
    parts: Parts,
    *,
    samples: int,
    tolerance: float | None = None,
    seed: int = 0,
    batch: int = 64,
) -> Comparison:
    """Ask the teacher about `samples` views drawn by `seed` from all epochs, and compare what it says with the store.

    UsageError where the views of `parts` are others than the store's.
    """
    view_seed, augment, mix, _ = views_of(store.manifest.recipe)
    require_recipe(store, parts)
    rng, places_in_store, total = np.random.default_rng(seed), samples_of(store, parts.learn), len(parts.learn)
    drawn = np.sort(rng.choice(total * store.epochs, min(samples, total * store.epochs), replace=False))
    epochs, indices = np.divmod(drawn, total)
    answers = Answers(teacher, store.manifest, processes())
    greatest, mean, first = 0.0, 0.0, 0
    for epoch in np.unique(epochs):
        mine = indices[epochs == epoch]
        batches = np.array_split(mine, -(-len(mine) // batch))
        number = store.manifest.first + int(epoch)
        seeds = seeds_of(store, places_in_store, epoch=number)
        views = parts.learn.views(batches, epoch=number, seed=view_seed, augment=augment, mix=mix, published=seeds)
        for places, images in zip(batches, views, strict=True):
            away, same = _away(answers.logits(images), store, epoch=number, indices=places_in_store[places])
            greatest, mean, first = max(greatest, float(away.max())), mean + float(away.sum()), first + same
    return Comparison(
        samples=len(drawn),
        greatest=greatest,
        mean=mean / len(drawn),
        same_first=first / len(drawn),
        same_weights=fingerprint(teacher) == store.manifest.teacher.get("fingerprint"),
        tolerance=default_tolerance(store) if tolerance is None else tolerance,
    )


def _away(
    logits: Tensor, store: LogitStore, *, epoch: int, indices: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> tuple[Tensor, int]:
    """For each view the greatest difference (B,), of a stored class or of one that should have been; equal first classes."""
    live = logits.float().softmax(-1).cpu()
    classes, values = (torch.from_numpy(one) for one in store.read(epoch, indices))
    away = (live.gather(1, classes) - values).abs().amax(1)
    left_out = live.scatter(1, classes, 0.0).amax(1) - values[:, -1]
    return torch.maximum(away, left_out), int((live.argmax(1) == classes[:, 0]).sum())
