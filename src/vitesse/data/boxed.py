"""Pictures with boxes as batches: mirrored and scaled as a function of (seed, epoch, index) to learn, plain to examine.

Notation: b pictures of a batch, n objects of the picture that has the most, (H, W) the largest height and width.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from vitesse.data.coco import CocoPart, Marked
from vitesse.data.image import open_image
from vitesse.data.replay import permutation, uniform
from vitesse.errors import UsageError, VitesseError


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxAugment:
    """How training pictures are changed: `flip` is the probability of a mirror image, `scale` the range of a factor by
    which the size that a detector asks for is multiplied (drawn with a uniform logarithm)."""

    flip: float = 0.5
    scale: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        if not 0 <= self.flip <= 1:
            raise UsageError(f"flip is a probability, 0 to 1, but got {self.flip}.")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise UsageError(f"scale must hold 0 < lowest <= highest, but got {self.scale}.")


@dataclass(frozen=True, slots=True, eq=False)
class BoxBatch:
    """Pictures to learn from, filled up with zeros to one size.

    images: (b, C, H, W) uint8. sizes: (b, 2) height and width. boxes: (b, n, 4) x1, y1, x2, y2. labels: (b, n) indices into
    the classes. counts: (b,) how many objects there are. masks: (b, n, H, W) bool; (b, 0, 0, 0) where none are learned.
    """

    images: Tensor
    sizes: Tensor
    boxes: Tensor
    labels: Tensor
    counts: Tensor
    masks: Tensor


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BoxedPart:
    """The pictures of a part for a detector.

    channels: 1 or 3. shorter, longer: the side to which a picture's shorter one is brought, and what its longer one may
    not exceed. masks: whether outlines are needed. workers: processes that decode.
    """

    part: CocoPart
    channels: int = 3
    shorter: int = 800
    longer: int = 1333
    masks: bool = False
    workers: int = 2

    def steps(self, batch: int) -> int:
        """The steps of an epoch: the last incomplete batch is left out, and there is at least one."""
        return max(1, len(self.part) // min(batch, len(self.part)))

    def train_batches(
        self, *, epoch: int, batch: int, seed: int, augment: BoxAugment, start: int = 0, rank: int = 0, world: int = 1
    ) -> Iterator[BoxBatch]:
        """The batches of an epoch from step `start`, a pure function of the arguments; a rank gets its share of each."""
        size = min(batch, len(self.part))
        order = permutation(seed, epoch, len(self.part))
        low, high = size * rank // world, size * (rank + 1) // world
        rows = [order[step * size + low : step * size + high] for step in range(start, self.steps(batch))]
        return self._load(_Changed(self, augment, seed, epoch), rows, _joined)

    def pictures(self, *, rank: int = 0, world: int = 1) -> Iterator[tuple[int, Tensor]]:
        """Every picture once over all ranks, as it is: its place in the part, and (C, h, w) uint8."""
        low, high = len(self.part) * rank // world, len(self.part) * (rank + 1) // world
        rows = [np.array([row]) for row in range(low, high)]
        return zip(range(low, high), self._load(_Plain(self), rows, _only), strict=True)

    def _load(self, pictures: Dataset[Any], batches: list[npt.NDArray[np.int64]], collate: Any) -> Iterator[Any]:
        loader = DataLoader(
            pictures,
            batch_sampler=[rows.tolist() for rows in batches],
            num_workers=self.workers,
            collate_fn=collate,
            generator=torch.Generator(),  # its draws leave the global one untouched
        )
        return iter(loader)

    def pixels(self, marked: Marked) -> Tensor:
        """A picture as it is, (C, h, w) uint8; VitesseError where it has not the size that its file says."""
        picture = open_image(self.part.images / marked.name).convert("L" if self.channels == 1 else "RGB")
        if (picture.height, picture.width) != marked.size:
            raise VitesseError(
                f"{self.part.images / marked.name} must have the height and width that are annotated, {marked.size}, but "
                f"has {(picture.height, picture.width)}. Mend its entry, or take its orientation out of its EXIF."
            )
        pixels = torch.from_numpy(np.array(picture))
        return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1).contiguous()


def fitted_size(size: tuple[int, int], *, shorter: int, longer: int) -> tuple[int, int]:
    """The height and width of a picture whose shorter side is brought to `shorter`, unless the longer one exceeds `longer`."""
    factor = min(shorter / min(size), longer / max(size))
    return max(1, int(size[0] * factor)), max(1, int(size[1] * factor))


def outlines_to_masks(outlines: tuple[Any, ...], size: tuple[int, int]) -> Tensor:
    """Polygons and run lengths as masks (n, h, w) bool. UsageError without pycocotools, which draws them."""
    coder = coco_tool("mask")
    masks = np.zeros((len(outlines), *size), np.bool_)
    with warnings.catch_warnings():
        # Its arrays follow the protocol of NumPy 1, which NumPy 2 still takes, with a warning to its makers.
        warnings.filterwarnings("ignore", "__array__ implementation doesn't accept a copy keyword", DeprecationWarning)
        for place, outline in enumerate(outlines):
            packed = isinstance(outline, dict) and isinstance(outline["counts"], str)
            runs = outline if packed else coder.frPyObjects(outline, *size)
            masks[place] = coder.decode(coder.merge(runs) if isinstance(runs, list) else runs)
    return torch.from_numpy(masks)


def coco_tool(name: str) -> Any:
    """A module of pycocotools; UsageError where it is not installed."""
    from importlib import import_module

    try:
        return import_module(f"pycocotools.{name}")
    except ImportError as error:
        raise UsageError(
            "Masks and mean average precision come from pycocotools. Install it: "
            "python -m pip install 'vitesse-ml[detection]'."
        ) from error


@dataclass(frozen=True, slots=True, eq=False)
class _Plain(Dataset[Tensor]):
    whole: BoxedPart

    def __getitem__(self, index: int) -> Tensor:
        return self.whole.pixels(self.whole.part.pictures[index])


@dataclass(frozen=True, slots=True, eq=False)
class _Changed(Dataset[tuple[Tensor, ...]]):
    """Pictures as they are learned from: (pixels (C, h, w), boxes (n, 4), labels (n,), masks (n, h, w) or (0, 0, 0))."""

    whole: BoxedPart
    augment: BoxAugment
    seed: int
    epoch: int

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        marked = self.whole.part.pictures[index]
        toss, size = uniform(self.seed, self.epoch, [index], 2)[0]
        low, high = self.augment.scale
        factor = low * (high / low) ** size
        one = ~marked.crowd
        boxes, labels = torch.from_numpy(marked.boxes[one]), torch.from_numpy(marked.labels[one])
        masks = torch.zeros(0, 0, 0, dtype=torch.bool)
        if self.whole.masks:
            outlines = tuple(line for line, wanted in zip(marked.outlines, one, strict=True) if wanted)
            masks = outlines_to_masks(outlines, marked.size)
        target = fitted_size(
            marked.size, shorter=round(self.whole.shorter * factor), longer=round(self.whole.longer * factor)
        )
        pixels, boxes, masks = _resized(self.whole.pixels(marked), boxes, masks, target)
        if toss < self.augment.flip:
            pixels, masks = pixels.flip(-1), masks.flip(-1)
            boxes = torch.stack([target[1] - boxes[:, 2], boxes[:, 1], target[1] - boxes[:, 0], boxes[:, 3]], 1)
        return pixels, boxes, labels, masks


def _resized(pixels: Tensor, boxes: Tensor, masks: Tensor, target: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """As a torchvision detector resizes: bilinear pixels, nearest masks."""
    high, wide = pixels.shape[-2:]
    if (high, wide) != target:
        resized = functional.interpolate(pixels[None].float(), target, mode="bilinear", align_corners=False)[0]
        pixels = resized.round().to(torch.uint8)
        if len(masks):
            masks = functional.interpolate(masks[None].to(torch.uint8), target)[0].bool()
    return pixels, boxes * torch.tensor([target[1] / wide, target[0] / high] * 2), masks


def _only(samples: list[Tensor]) -> Tensor:
    return samples[0]


def _joined(samples: list[tuple[Tensor, ...]]) -> BoxBatch:
    """Pictures of several sizes as one batch."""
    images, boxes, labels, masks = zip(*samples, strict=True)
    sizes = torch.tensor([list(image.shape[-2:]) for image in images])  # (b, 2)
    high, wide = (int(side) for side in sizes.amax(0))
    most = max(len(one) for one in boxes)
    outlined = any(len(one) for one in masks)
    return BoxBatch(
        images=torch.stack([_filled(image, (image.shape[0], high, wide)) for image in images]),
        sizes=sizes,
        boxes=torch.stack([_filled(one, (most, 4)) for one in boxes]),
        labels=torch.stack([_filled(one, (most,)) for one in labels]),
        counts=torch.tensor([len(one) for one in boxes]),
        masks=torch.stack([_filled(one, (most, high, wide)) for one in masks])
        if outlined
        else torch.zeros(len(samples), 0, 0, 0, dtype=torch.bool),
    )


def _filled(one: Tensor, shape: tuple[int, ...]) -> Tensor:
    whole = one.new_zeros(shape)
    whole[tuple(slice(length) for length in one.shape)] = one
    return whole
