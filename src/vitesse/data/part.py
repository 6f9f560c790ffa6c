"""A part of the data as batches: shuffled and changed but replayable for training, in order and plain for evaluation."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
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

Ints = npt.NDArray[np.int64]
# The published seeds (b,) of some images' views, which then are what that code drew (vitesse.data.published_views).
Seeds = Callable[[Ints], Ints]


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
        self._learned = np.ones(len(labels), np.bool_)  # which images training batches show

    def __len__(self) -> int:
        return len(self.labels)

    def without(self, places: Ints) -> Part:
        """The same part, whose training batches leave these images out; all keep their numbers."""
        rest = copy.copy(self)
        rest._learned = self._learned.copy()
        rest._learned[places] = False
        if not rest._learned.any():
            raise UsageError(f"A part must keep an image to learn from, but all {len(self)} are left out.")
        return rest

    @property
    def kept(self) -> bool:
        """Whether the pictures are kept in memory; their views are drawn otherwise than those of decoded pictures."""
        return self._views.kept

    def steps(self, batch: int) -> int:
        """Count the optimizer steps of an epoch: the last incomplete batch is left out, and there is at least one."""
        return max(1, self._count // min(self._clamped(batch), self._count))

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
        published: Seeds | None = None,
    ) -> Iterator[Batch]:
        """Give the batches of an epoch from step `start`, a pure function of the arguments.

        batch: the images of all ranks together, at most the whole part; a rank gets its contiguous share, which
        differs by one image at most where `batch` is no multiple of `world`. The ranks' shares together are the batch
        of world 1. `published` takes the place of `augment`.
        """
        _check_rank(rank, world)
        size = min(self._clamped(batch), self._count)
        order = self._order(seed, epoch)
        low, high = size * rank // world, size * (rank + 1) // world
        # Neighbours mix, so a share that begins or ends between two of them reads the other one as well.
        first, last = (low - low % 2, min(high + high % 2, size)) if mix.mixes else (low, high)
        offsets = range(start * size, self.steps(batch) * size, size)
        wider = [order[offset + first : offset + last] for offset in offsets]
        own = slice(low - first, high - first)
        for indices, images in self._seen(wider, augment, seed=seed, epoch=epoch, published=published):
            whole = self._batch(images, indices, smoothing=mix.smoothing)
            if mix.mixes:
                images, targets = mix_pairs(images, whole.targets, mix, seed=seed, epoch=epoch, indices=indices)
                whole = Batch(images, targets, whole.labels, whole.indices)
            yield Batch(whole.images[own], whole.targets[own], whole.labels[own], whole.indices[own])

    def views(
        self,
        batches: Sequence[Ints],
        *,
        epoch: int,
        seed: int,
        augment: Augment,
        mix: Mix,
        published: Seeds | None = None,
    ) -> Iterator[Tensor]:
        """Give any images, (b, C, H, W) for each of `batches` of indices, as `train_batches` shows them in that epoch.

        With mixing, as it shows them in even batches of any size: there, an image's partner is its neighbour in the
        epoch's order (of an odd number of images the last has none), wherever batches begin. The partner is read as well.
        """
        own: list[slice | Tensor] = [slice(None)] * len(batches)
        wider = list(batches)
        if mix.mixes:
            order = self._order(seed, epoch)
            place = np.zeros(len(self), np.int64)
            place[order] = np.arange(len(order))
            for number, indices in enumerate(batches):
                pairs = np.unique(place[indices] // 2)
                places = (2 * pairs[:, None] + np.arange(2)).reshape(-1)
                places = places[places < len(order)]
                wider[number] = order[places]
                own[number] = torch.from_numpy(np.searchsorted(places, place[indices]))
        seen = self._seen(wider, augment, seed=seed, epoch=epoch, published=published)
        for mine, (indices, images) in zip(own, seen, strict=True):
            if mix.mixes:
                nothing = torch.zeros(len(images), 1)
                images, _ = mix_pairs(images, nothing, mix, seed=seed, epoch=epoch, indices=indices)
            yield images[mine]

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

    def _seen(
        self, batches: Sequence[Ints], augment: Augment, *, seed: int, epoch: int, published: Seeds | None
    ) -> Iterator[tuple[Ints, Tensor]]:
        """The images of each batch, changed but not yet mixed, with their indices."""
        if published is not None:
            seeds = [published(indices) for indices in batches]
            yield from zip(batches, self._views.published(batches, seeds), strict=True)
            return
        for indices, pixels in zip(
            batches, self._views.augmented(batches, augment, seed=seed, epoch=epoch), strict=True
        ):
            images = normalise(pixels, self._preprocess)
            if augment.erase:
                images = erase_boxes(images, augment.erase, seed=seed, epoch=epoch, indices=indices)
            yield indices, images

    def _batch(self, images: Tensor, indices: Ints, *, smoothing: float = 0.0) -> Batch:
        places = torch.from_numpy(indices)
        labels = self.labels[places]
        return Batch(images, soft_targets(labels, self._classes, smoothing=smoothing), labels, places)

    @property
    def _count(self) -> int:
        return int(self._learned.sum())

    def _order(self, seed: int, epoch: int) -> Ints:
        order = permutation(seed, epoch, len(self))
        return order[self._learned[order]]

    def _clamped(self, batch: int) -> int:
        if batch < 1:
            raise UsageError(f"A batch holds at least 1 image, but got {batch}.")
        return min(batch, len(self))


def _check_rank(rank: int, world: int) -> None:
    if not 0 <= rank < world:
        raise UsageError(f"rank must hold 0 <= rank < world, but got rank {rank} of {world}.")
