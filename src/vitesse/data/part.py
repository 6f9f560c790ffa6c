"""A part of the data as batches: shuffled and changed but replayable for training, in order and plain for evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vitesse.data.augment import Augment, erase_boxes
from vitesse.data.mix import Mix, mix_pairs, soft_targets
from vitesse.data.preprocess import Preprocess, normalise
from vitesse.data.replay import permutation
from vitesse.data.views import Views
from vitesse.errors import UsageError


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Images ready for a network.

    images: (b, C, H, W) float32, normalised. targets: (b, classes) float32, soft. labels: (b,) the images' own classes.
    indices: (b,) their places in the part.
    """

    images: Tensor
    targets: Tensor
    labels: Tensor
    indices: Tensor


class Part:
    """One of the three disjoint parts of the data; its images are numbered 0 to len - 1."""

    def __init__(
        self, views: Views, *, labels: Tensor, names: Sequence[str], classes: int, preprocess: Preprocess
    ) -> None:
        self.labels = labels  # (N,) long
        self.names = names
        self._views = views
        self._classes = classes
        self._preprocess = preprocess

    def __len__(self) -> int:
        return len(self.labels)

    def steps(self, batch: int) -> int:
        """Count the optimizer steps of an epoch: the last incomplete batch is left out, and there is at least one."""
        return max(1, len(self) // self._clamped(batch))

    def train_batches(
        self,
        *,
        epoch: int,
        batch: int,
        seed: int,
        augment: Augment,
        mix: Mix,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> Iterator[Batch]:
        """Give the batches of an epoch from step `start`, a pure function of the arguments.

        batch: the images of all ranks together, at most the whole part; a rank gets its contiguous share, which
        differs by one image at most where `batch` is no multiple of `world`. The ranks' shares together are the batch
        of world 1.
        """
        _check_rank(rank, world)
        size = self._clamped(batch)
        order = permutation(seed, epoch, len(self))
        low, high = size * rank // world, size * (rank + 1) // world
        # Neighbours mix, so a share that begins or ends between two of them reads the other one as well.
        first, last = (low - low % 2, min(high + high % 2, size)) if mix.mixes else (low, high)
        offsets = range(start * size, self.steps(batch) * size, size)
        wider = [order[offset + first : offset + last] for offset in offsets]
        own = slice(low - first, high - first)
        for indices, pixels in zip(wider, self._views.augmented(wider, augment, seed=seed, epoch=epoch), strict=True):
            images = normalise(pixels, self._preprocess)
            if augment.erase:
                images = erase_boxes(images, augment.erase, seed=seed, epoch=epoch, indices=indices)
            whole = self._batch(images, indices, smoothing=mix.smoothing)
            if mix.mixes:
                images, targets = mix_pairs(images, whole.targets, mix, seed=seed, epoch=epoch, indices=indices)
                whole = Batch(images, targets, whole.labels, whole.indices)
            yield Batch(whole.images[own], whole.targets[own], whole.labels[own], whole.indices[own])

    def batches(self, batch: int, *, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """Give every image once over all ranks, in order, plain, with one-hot targets.

        batch: the images of one batch on one rank. A rank gets a contiguous share of the part, so that ranks differ
        by one image at most.
        """
        _check_rank(rank, world)
        low, high = len(self) * rank // world, len(self) * (rank + 1) // world
        size = self._clamped(batch)
        shares = [np.arange(start, min(start + size, high)) for start in range(low, high, size)]
        for indices, pixels in zip(shares, self._views.plain(shares), strict=True):
            yield self._batch(normalise(pixels, self._preprocess), indices)

    def _batch(self, images: Tensor, indices: npt.NDArray[np.int64], *, smoothing: float = 0.0) -> Batch:
        places = torch.from_numpy(indices)
        labels = self.labels[places]
        return Batch(images, soft_targets(labels, self._classes, smoothing=smoothing), labels, places)

    def _clamped(self, batch: int) -> int:
        if batch < 1:
            raise UsageError(f"A batch holds at least 1 image, but got {batch}.")
        return min(batch, len(self))


def _check_rank(rank: int, world: int) -> None:
    if not 0 <= rank < world:
        raise UsageError(f"rank must hold 0 <= rank < world, but got rank {rank} of {world}.")
