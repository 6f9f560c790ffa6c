"""Where a part's pictures come from: kept in memory as squares, or decoded anew by worker processes."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vitesse.data.augment import Augment, augment_squares
from vitesse.data.image import decode
from vitesse.data.preprocess import Preprocess, to_pixels
from vitesse.data.published_views import published_view
from vitesse.data.replay import Stream, hashes
from vitesse.data.source import Source
from vitesse.errors import UsageError

Ints = npt.NDArray[np.int64]


class Views(Protocol):
    """Pictures of a part by batches; `batches` holds indices into the part.

    kept: whether they lie in memory; their views are drawn otherwise than those of pictures that are decoded anew.
    """

    kept: ClassVar[bool]

    def plain(self, batches: Sequence[Ints]) -> Iterator[Tensor]:
        """Give what evaluation sees, uint8 (b, C, H, W)."""

    def augmented(self, batches: Sequence[Ints], augment: Augment, *, seed: int, epoch: int) -> Iterator[Tensor]:
        """Give training views, values 0..255, (b, C, H, W); erasing is not yet done."""

    def published(self, batches: Sequence[Ints], seeds: Sequence[Ints]) -> Iterator[Tensor]:
        """Give the views of these published seeds, whole: normalised, (b, 3, H, W)."""


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """Squares in memory, uint8 (N, C, SH, SW), shared by the parts; rows: (n,) which of them are this part's."""

    kept: ClassVar[bool] = True
    squares: Tensor
    rows: Ints
    preprocess: Preprocess

    def plain(self, batches: Sequence[Ints]) -> Iterator[Tensor]:
        """As `Views.plain`."""
        (top, left), (high, wide) = self.preprocess.margin, self.preprocess.size
        crops = self.squares[:, :, top : top + high, left : left + wide]
        for indices in batches:
            yield crops[torch.from_numpy(self.rows[indices])]

    def augmented(self, batches: Sequence[Ints], augment: Augment, *, seed: int, epoch: int) -> Iterator[Tensor]:
        """As `Views.augmented`, by one affine map for the batch."""
        for indices in batches:
            squares = self.squares[torch.from_numpy(self.rows[indices])]
            yield augment_squares(squares, augment, self.preprocess, seed=seed, epoch=epoch, indices=indices)

    def published(self, batches: Sequence[Ints], seeds: Sequence[Ints]) -> Iterator[Tensor]:
        """As `Views.published`: UsageError, for the squares are no longer the whole pictures."""
        raise UsageError(
            "Published views are cut from whole pictures, but these are kept as squares. Set cache_bytes to 0."
        )


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """Pictures decoded when they are needed, in worker processes; rows: (n,) which of the source's are this part's."""

    kept: ClassVar[bool] = False
    source: Source
    rows: Ints
    preprocess: Preprocess
    workers: int

    def plain(self, batches: Sequence[Ints]) -> Iterator[Tensor]:
        """As `Views.plain`."""
        return self._load(_Plain(self.source, self.rows, self.preprocess), batches)

    def augmented(self, batches: Sequence[Ints], augment: Augment, *, seed: int, epoch: int) -> Iterator[Tensor]:
        """As `Views.augmented`, by timm's transforms for each picture."""
        if augment.identity:
            return self.plain(batches)
        transform = timm_transform(augment, self.preprocess)
        return self._load(_Augmented(self.source, self.rows, self.preprocess, transform, seed, epoch), batches)

    def published(self, batches: Sequence[Ints], seeds: Sequence[Ints]) -> Iterator[Tensor]:
        """As `Views.published`."""
        if self.preprocess.channels != 3:
            raise UsageError("Published views are in colour, but the data are grey. Set channels to 3.")
        pairs = [np.stack(pair, 1) for pair in zip(batches, seeds, strict=True)]  # (b, 2) each
        return self._load(_Published(self.source, self.rows, self.preprocess), pairs)

    def _load(self, pictures: Dataset[Tensor], batches: Sequence[Ints]) -> Iterator[Tensor]:
        # The loader draws a seed for its workers; a generator of its own leaves the global one untouched.
        return iter(
            DataLoader(
                pictures,
                batch_sampler=[indices.tolist() for indices in batches],
                num_workers=self.workers,
                generator=torch.Generator(),
            )
        )


def timm_transform(augment: Augment, preprocess: Preprocess) -> Any:
    """Make timm's training transform, from an RGB picture to uint8 (3, H, W)."""
    from timm.data.transforms_factory import create_transform

    low, high = ((side * preprocess.crop) ** 2 for side in augment.zoom)
    ratio = float(np.exp(augment.stretch))
    return create_transform(
        input_size=(3, *preprocess.size),
        is_training=True,
        scale=(min(low, 1.0), min(high, 1.0)),
        ratio=(1 / ratio, ratio),
        hflip=augment.flip,
        color_jitter=(augment.brightness, augment.contrast, 0.0),
        auto_augment=augment.policy or None,
        interpolation=preprocess.interpolation,
        mean=preprocess.mean if preprocess.channels == 3 else preprocess.mean * 3,
        normalize=False,
    )


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Start the global random sources, which libraries draw from, at `seed`; their state is put back after."""
    # timm draws from all three, and takes no generator.
    plain, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed & 0xFFFFFFFF)  # noqa: NPY002
        torch.default_generator.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(plain)
            np.random.set_state(numpy)  # noqa: NPY002


@dataclass(frozen=True, slots=True, eq=False)
class _Plain(Dataset[Tensor]):
    source: Source
    rows: Ints
    preprocess: Preprocess

    def __getitem__(self, index: int) -> Tensor:
        row = int(self.rows[index])
        return to_pixels(decode(self.source.read(row), self.source.names[row]), self.preprocess)


@dataclass(frozen=True, slots=True, eq=False)
class _Augmented(Dataset[Tensor]):
    source: Source
    rows: Ints
    preprocess: Preprocess
    transform: Any
    seed: int
    epoch: int

    def __getitem__(self, index: int) -> Tensor:
        row = int(self.rows[index])
        picture = decode(self.source.read(row), self.source.names[row]).convert("RGB")
        with seeded(int(hashes(self.seed, self.epoch, index, stream=Stream.SAMPLE)[0, 0] >> np.uint64(1))):
            pixels: Tensor = self.transform(picture)
        return pixels if self.preprocess.channels == 3 else _grey(pixels)


@dataclass(frozen=True, slots=True, eq=False)
class _Published(Dataset[Tensor]):
    source: Source
    rows: Ints
    preprocess: Preprocess

    def __getitem__(self, pair: tuple[int, int]) -> Tensor:
        index, seed = pair
        row = int(self.rows[index])
        picture = decode(self.source.read(row), self.source.names[row]).convert("RGB")
        return published_view(picture, seed, self.preprocess)


def _grey(pixels: Tensor) -> Tensor:
    """Luma of ITU-R 601, as Pillow's, uint8 (1, H, W)."""
    weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    return (pixels * weights).sum(0, keepdim=True).round().to(torch.uint8)
