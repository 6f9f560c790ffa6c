"""From a picture to what a network sees: size, crop, channels, scale; a value that travels with the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vitesse.errors import UsageError, VitesseError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# An image far longer than wide would grow without bound when its shorter side is enlarged.
_MOST_PIXELS = 1 << 27


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocess:
    """How a picture becomes a network's input.

    size: (height, width) in pixels. mean, std: a number per channel, for values in 0..1. crop: the fraction of the
    resized picture that the centre crop keeps; the picture is resized to floor(size / crop), as timm does.
    """

    size: tuple[int, int] = (224, 224)
    channels: int = 3
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    crop: float = 0.875

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 1:
            raise UsageError(f"size must be (height, width), both at least 1, but got {self.size}.")
        if self.channels not in (1, 3):
            raise UsageError(f"channels must be 1 or 3, but got {self.channels}.")
        if len(self.mean) != self.channels or len(self.std) != self.channels or min(self.std) <= 0:
            raise UsageError(
                f"mean and std must hold one number for each of the {self.channels} channels, std above 0, "
                f"but got mean {self.mean}, std {self.std}."
            )
        if self.interpolation not in ("bilinear", "bicubic"):
            raise UsageError(f"interpolation must be 'bilinear' or 'bicubic', but got {self.interpolation!r}.")
        if not 0 < self.crop <= 1:
            raise UsageError(f"crop must hold 0 < crop <= 1, but got {self.crop}.")

    @property
    def square(self) -> tuple[int, int]:
        """The (height, width) to which a picture is resized before the centre crop: floor(size / crop)."""
        return int(self.size[0] / self.crop), int(self.size[1] / self.crop)

    @property
    def margin(self) -> tuple[int, int]:
        """Where the centre crop begins in `square`: (top, left)."""
        return _start(self.square[0], self.size[0]), _start(self.square[1], self.size[1])

    def to_dict(self) -> dict[str, Any]:
        """Give plain JSON values."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Preprocess:
        """Inverse of `to_dict`; UsageError where a field is unknown or wrong."""
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise UsageError(f"Preprocess has no field {', '.join(sorted(unknown))}.")
        plain: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return cls(**plain)


def to_pixels(image: Image.Image, preprocess: Preprocess) -> Tensor:
    """Bring a picture to what evaluation sees, uint8 (C, H, W): resize, centre crop."""
    top, left = preprocess.margin
    height, width = preprocess.size
    return to_square(image, preprocess)[:, top : top + height, left : left + width]


def to_batch(images: Sequence[Image.Image], preprocess: Preprocess) -> Tensor:
    """Bring pictures to one batch, uint8 (B, C, H, W)."""
    return torch.stack([to_pixels(image, preprocess) for image in images])


def to_square(image: Image.Image, preprocess: Preprocess) -> Tensor:
    """Resize a picture to cover `preprocess.square` and cut that out, uint8 (C, SH, SW).

    The cut lies so that its own centre crop is, to the pixel, the centre crop of the whole resized picture.
    """
    image = image.convert("L" if preprocess.channels == 1 else "RGB")
    high, wide = preprocess.square
    width, height = cover(image.width, image.height, preprocess.square)
    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    resized = image.resize((width, height), filters[preprocess.interpolation])
    top = _start(height, preprocess.size[0]) - preprocess.margin[0]
    left = _start(width, preprocess.size[1]) - preprocess.margin[1]
    pixels = torch.from_numpy(np.array(resized.crop((left, top, left + wide, top + high))))
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1).contiguous()  # (C, SH, SW)


def normalise(images: Tensor, preprocess: Preprocess) -> Tensor:
    """Bring values of 0..255 (any type, (B, C, H, W)) to float32 of the mean and spread that the network expects."""
    mean = torch.tensor(preprocess.mean, device=images.device).view(-1, 1, 1)
    std = torch.tensor(preprocess.std, device=images.device).view(-1, 1, 1)
    return (images.to(torch.float32) / 255 - mean) / std


def unnormalise(images: Tensor, preprocess: Preprocess) -> Tensor:
    """Take `normalise` back, to 0..1 as an exported file takes images: (B, C, H, W) float32."""
    mean = torch.tensor(preprocess.mean, device=images.device).view(-1, 1, 1)
    std = torch.tensor(preprocess.std, device=images.device).view(-1, 1, 1)
    return (images * std + mean).clamp(0, 1)


def cover(width: int, height: int, target: tuple[int, int]) -> tuple[int, int]:
    """The size (width, height) that covers `target` (height, width) and keeps the picture's proportions.

    VitesseError where that is too large to be made.
    """
    high, wide = target
    if width * high <= height * wide:
        size = wide, max(high, int(wide * height / width))
    else:
        size = max(wide, int(high * width / height)), high
    if size[0] * size[1] > _MOST_PIXELS:
        raise VitesseError(f"the picture of {width}x{height} pixels is too long for its width; crop it.")
    return size


def _start(length: int, crop: int) -> int:
    """Where a centred crop begins: half of the rest, a half rounded to even, as torchvision does."""
    return round((length - crop) / 2)
