"""Augmentation of images kept in memory: a batch at once, each image's changes a function of (seed, epoch, index).

Notation: b images, (SH, SW) the kept square, (H, W) the network's input; u uniform in [0, 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from vitesse.data.preprocess import Preprocess
from vitesse.data.replay import Stream, uniform
from vitesse.errors import UsageError

Ints = npt.NDArray[np.int64]

# The share of the image that an erased box covers, and its log proportions (Zhong et al., Random Erasing, 2017).
_ERASED_AREA = (0.02, 1 / 3)
_ERASED_LOG_ASPECT = math.log(1 / 0.3)


@dataclass(frozen=True, kw_only=True, slots=True)
class Augment:
    """How strongly training images are changed; the default changes nothing.

    zoom: the range of the side of the window that is seen, relative to evaluation's crop. stretch: the largest log
    ratio of its sides. shift: how far it may go beyond the kept square, as a fraction of the size. rotate: degrees to
    either side. flip: probability of a mirror image. brightness, contrast: the largest relative change. erase:
    probability that a box is erased. cutout: the side of a square that is always erased, relative to the image's, its centre
    anywhere (DeVries & Taylor 2017). edge: what lies beyond the image. policy: a timm policy
    ("rand-m9-mstd0.5-inc1"); used where images are decoded anew for each epoch, where it takes the place of
    brightness and contrast, and shift and rotate are not used.
    """

    zoom: tuple[float, float] = (1.0, 1.0)
    stretch: float = 0.0
    shift: float = 0.0
    rotate: float = 0.0
    flip: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    erase: float = 0.0
    cutout: float = 0.0
    edge: Literal["black", "reflect"] = "black"
    policy: str = ""

    def __post_init__(self) -> None:
        if len(self.zoom) != 2 or not 0 < self.zoom[0] <= self.zoom[1]:
            raise UsageError(f"zoom must hold 0 < lowest <= highest, but got {self.zoom}.")
        for name, what in {"flip": "probability", "erase": "probability", "cutout": "share of the side"}.items():
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} is a {what}, 0 to 1, but got {getattr(self, name)}.")
        for name in ("stretch", "shift", "rotate", "brightness", "contrast"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} must not be negative, but got {getattr(self, name)}.")
        if self.edge not in ("black", "reflect"):
            raise UsageError(f"edge must be 'black' or 'reflect', but got {self.edge!r}.")

    @classmethod
    def digits(cls) -> Augment:
        """For signs whose mirror image means something else: small shifts, turns and sizes, no flip."""
        return cls(zoom=(0.85, 1.15), stretch=0.1, shift=0.08, rotate=10.0, brightness=0.1, contrast=0.1)

    @classmethod
    def photos(cls) -> Augment:
        """For photographs: windows of many sizes, mirror images, light, erased boxes."""
        return cls(
            zoom=(0.5, 1.14),
            stretch=0.25,
            rotate=8.0,
            flip=0.5,
            brightness=0.3,
            contrast=0.3,
            erase=0.25,
            edge="reflect",
            policy="rand-m9-mstd0.5-inc1",
        )

    @classmethod
    def suited(cls, source: str) -> Augment:
        """What suits the data of that name, where nothing else is asked for."""
        return cls.digits() if source == "digits" else cls.photos()

    @property
    def moves(self) -> bool:
        """Whether pixels change place."""
        return (self.zoom, self.stretch, self.shift, self.rotate, self.flip) != ((1.0, 1.0), 0.0, 0.0, 0.0, 0.0)

    @property
    def identity(self) -> bool:
        """Whether the image stays what evaluation sees, but for what is erased."""
        return replace(self, erase=0.0, cutout=0.0, edge="black") == Augment()


def augment_squares(
    squares: Tensor, augment: Augment, preprocess: Preprocess, *, seed: int, epoch: int, indices: Ints
) -> Tensor:
    """Change kept squares, uint8 (b, C, SH, SW), into training views, float32 (b, C, H, W) of 0..255."""
    draws = torch.from_numpy(uniform(seed, epoch, indices, 8)).to(torch.float32)  # (b, 8)
    high, wide = preprocess.size
    if augment.moves:
        grid = functional.affine_grid(
            _window(draws, augment, preprocess), [len(squares), preprocess.channels, high, wide], align_corners=False
        )
        padding = "zeros" if augment.edge == "black" else "reflection"
        images = functional.grid_sample(squares.float(), grid, padding_mode=padding, align_corners=False)
    else:
        top, left = preprocess.margin
        images = squares[:, :, top : top + high, left : left + wide].float()
    if augment.brightness or augment.contrast:
        light = 1 + augment.brightness * (2 * draws[:, 6] - 1)
        depth = 1 + augment.contrast * (2 * draws[:, 7] - 1)
        mean = images.mean((1, 2, 3), keepdim=True)
        images = ((images - mean) * depth.view(-1, 1, 1, 1) + mean) * light.view(-1, 1, 1, 1)
        images = images.clamp(0, 255)
    return images


def erase_boxes(images: Tensor, probability: float, *, seed: int, epoch: int, indices: Ints) -> Tensor:
    """Set a box of some of the normalised images (b, C, H, W) to 0, the mean colour."""
    draws = uniform(seed, epoch, indices, 5, stream=Stream.ERASE)
    area = _ERASED_AREA[0] + (_ERASED_AREA[1] - _ERASED_AREA[0]) * draws[:, 1]
    aspect = np.exp(_ERASED_LOG_ASPECT * (2 * draws[:, 2] - 1))
    boxes = box_masks(np.sqrt(area * aspect), np.sqrt(area / aspect), draws[:, 3], draws[:, 4], size=images.shape[-2:])
    boxes &= torch.from_numpy(draws[:, 0] < probability)[:, None, None]
    return images.masked_fill(boxes[:, None], 0.0)


def cut_squares(images: Tensor, side: float, *, seed: int, epoch: int, indices: Ints) -> Tensor:
    """Set a square of the normalised images (b, C, H, W) to 0, the mean colour; at the border only its inside is left of it.

    side: relative to the image's.
    """
    draws = uniform(seed, epoch, indices, 2, stream=Stream.CUTOUT)
    spans = []
    for length, draw in zip(images.shape[-2:], draws.T, strict=True):
        long = round(side * length)
        start = np.floor(draw * length).astype(int) - long // 2
        pixels = np.arange(length)[None, :]
        spans.append((pixels >= start[:, None]) & (pixels < (start + long)[:, None]))  # (b, length)
    squares = torch.from_numpy(spans[0][:, :, None] & spans[1][:, None, :])
    return images.masked_fill(squares[:, None], 0.0)


def box_masks(
    heights: npt.NDArray[np.float64],
    widths: npt.NDArray[np.float64],
    down: npt.NDArray[np.float64],
    right: npt.NDArray[np.float64],
    *,
    size: tuple[int, ...] | torch.Size,
) -> Tensor:
    """Draw boxes as masks, bool (b, H, W): sides as fractions of the image, places as fractions of the room left."""

    def spans(sides: npt.NDArray[np.float64], places: npt.NDArray[np.float64], length: int) -> npt.NDArray[np.bool_]:
        long = np.minimum(np.round(sides * length), length)
        start = np.floor(places * (length - long + 1))
        pixels = np.arange(length)[None, :]
        inside: npt.NDArray[np.bool_] = (pixels >= start[:, None]) & (pixels < (start + long)[:, None])
        return inside  # (b, length)

    rows, columns = spans(heights, down, size[0]), spans(widths, right, size[1])
    return torch.from_numpy(rows[:, :, None] & columns[:, None, :])


def _window(draws: Tensor, augment: Augment, preprocess: Preprocess) -> Tensor:
    """The affine map (b, 2, 3) from output to square coordinates, both -1 to 1, for `affine_grid`."""
    (high, wide), (square_high, square_wide) = preprocess.size, preprocess.square
    low, top_zoom = augment.zoom
    side = low + (top_zoom - low) * draws[:, 0]
    stretch = torch.exp(augment.stretch * (draws[:, 1] - 0.5))
    zoom_x, zoom_y = side * stretch, side / stretch
    angle = math.radians(augment.rotate) * (2 * draws[:, 2] - 1)
    mirror = torch.where(draws[:, 3] < augment.flip, -1.0, 1.0)
    # The window's centre in pixels from the square's: anywhere inside, and `shift` beyond.
    room_x = ((square_wide - zoom_x * wide) / 2).clamp(min=0) + augment.shift * wide
    room_y = ((square_high - zoom_y * high) / 2).clamp(min=0) + augment.shift * high
    centre_x, centre_y = (2 * draws[:, 4] - 1) * room_x, (2 * draws[:, 5] - 1) * room_y
    cos, sin = torch.cos(angle), torch.sin(angle)
    across = torch.stack([cos * zoom_x * mirror * wide, -sin * zoom_y * high, 2 * centre_x], 1) / square_wide
    along = torch.stack([sin * zoom_x * mirror * wide, cos * zoom_y * high, 2 * centre_y], 1) / square_high
    return torch.stack([across, along], 1)
