"""The training views of TinyViT's published stores: each a function of its picture and of the seed in its record.

Crop, mirror image, RandAugment "rand-m9-mstd0.5-inc1", erased box, in the published order of draws: Wu et al., TinyViT,
2022 (arXiv 2207.10666), and its released code; RandAugment as timm has it. The crop is relative to the picture, and the
erased box to a grid of 224 x 224, so a student may see another size than the teacher saw.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from vitesse.data.preprocess import Preprocess, normalise
from vitesse.data.published_random import PublishedRandom

_TRIES: Final = 10
_AREA, _ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)
_FLIP, _ERASE = 0.5, 0.25
_OPERATIONS, _APPLIED = 2, 0.5
_MAGNITUDE, _DEVIATION, _STRONGEST = 9.0, 0.5, 10.0
_ERASED_AREA, _ERASED_ASPECT, _ERASED_GRID = (0.02, 1 / 3), (0.3, 1 / 0.3), 224

Fill = tuple[int, ...]
Change = Callable[[Image.Image, float, Fill], Image.Image]  # (picture, strength -1..1, colour beyond its edge)


def published_view(picture: Image.Image, seed: int, preprocess: Preprocess) -> Tensor:
    """The view of an RGB picture that the published code drew with this seed, normalised float32 (3, H, W)."""
    random = PublishedRandom(seed)
    height, width = preprocess.size
    box = _crop(picture.size, random)
    view = picture.crop(box).resize((width, height), Image.Resampling.BICUBIC)
    if random.random() < _FLIP:
        view = ImageOps.mirror(view)
    fill = tuple(round(255 * mean) for mean in preprocess.mean)
    for number in random.np_choice(len(CHANGES), _OPERATIONS):
        view = _changed(view, *CHANGES[int(number)], random, fill)
    pixels = torch.from_numpy(np.array(view)).permute(2, 0, 1)
    return _erased(normalise(pixels, preprocess), random)


def _crop(size: tuple[int, int], random: PublishedRandom) -> tuple[int, int, int, int]:
    """A window of the picture (left, top, right, bottom); a centred one where none of ten fits."""
    width, height = size
    for _ in range(_TRIES):
        area = random.uniform(*_AREA) * width * height
        aspect = math.exp(random.uniform(math.log(_ASPECT[0]), math.log(_ASPECT[1])))
        wide, high = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < wide <= width and 0 < high <= height:
            top, left = random.randint(0, height - high), random.randint(0, width - wide)
            return left, top, left + wide, top + high
    wide, high = width, height
    if width / height < _ASPECT[0]:
        high = round(width / _ASPECT[0])
    elif width / height > _ASPECT[1]:
        wide = round(height * _ASPECT[1])
    left, top = (width - wide) // 2, (height - high) // 2
    return left, top, left + wide, top + high


def _changed(view: Image.Image, change: Change, signed: bool, random: PublishedRandom, fill: Fill) -> Image.Image:
    if random.random() > _APPLIED:
        return view
    # Drawn even where the change knows no strength.
    strength = min(max(random.gauss(_MAGNITUDE, _DEVIATION), 0.0), _STRONGEST) / _STRONGEST
    if signed and random.random() > 0.5:
        strength = -strength
    return change(view, strength, fill)


def _erased(images: Tensor, random: PublishedRandom) -> Tensor:
    """Noise in a box of some views (3, H, W); the noise has a generator of its own, seeded by the last draw."""
    if random.random() > _ERASE:
        return images
    height, width = images.shape[-2:]
    for _ in range(_TRIES):
        area = random.uniform(*_ERASED_AREA) * _ERASED_GRID**2
        aspect = math.exp(random.uniform(math.log(_ERASED_ASPECT[0]), math.log(_ERASED_ASPECT[1])))
        high, wide = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if high < _ERASED_GRID and wide < _ERASED_GRID:
            top, left = random.randint(0, _ERASED_GRID - high), random.randint(0, _ERASED_GRID - wide)
            rows, columns = _scaled(top, high, height), _scaled(left, wide, width)
            noise = np.random.Generator(np.random.MT19937(random.randint(0, 2**30)))
            shape = (3, rows.stop - rows.start, columns.stop - columns.start)
            images[:, rows, columns] = torch.from_numpy(noise.normal(size=shape).astype(np.float32))
            break
    return images


def _scaled(start: int, length: int, side: int) -> slice:
    """A span of the grid on a side of the view; exact where the view is as large as the grid."""
    return slice(start * side // _ERASED_GRID, (start + length) * side // _ERASED_GRID)


def _moved(view: Image.Image, matrix: Sequence[float], fill: Fill) -> Image.Image:
    return view.transform(view.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC, fillcolor=fill)


def _enhanced(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Change:
    return lambda view, strength, fill: kind(view).enhance(max(0.1, 1 + 0.9 * strength))


def _rotated(view: Image.Image, strength: float, fill: Fill) -> Image.Image:
    return view.rotate(30 * strength, Image.Resampling.BICUBIC, fillcolor=fill)


def _posterized(view: Image.Image, strength: float, fill: Fill) -> Image.Image:
    return ImageOps.posterize(view, 4 - int(4 * strength))


def _solarized(view: Image.Image, strength: float, fill: Fill) -> Image.Image:
    return ImageOps.solarize(view, 256 - int(256 * strength))


def _brightened_below(view: Image.Image, strength: float, fill: Fill) -> Image.Image:
    added = int(110 * strength)
    table = [min(255, value + added) if value < 128 else value for value in range(256)]
    return view.point(table * 3)


# In the published order, for the drawn number is a place in it; with whether the strength's sign is drawn.
CHANGES: Final[tuple[tuple[Change, bool], ...]] = (
    (lambda view, strength, fill: ImageOps.autocontrast(view), False),
    (lambda view, strength, fill: ImageOps.equalize(view), False),
    (lambda view, strength, fill: ImageOps.invert(view), False),
    (_rotated, True),
    (_posterized, False),
    (_solarized, False),
    (_brightened_below, False),
    (_enhanced(ImageEnhance.Color), True),
    (_enhanced(ImageEnhance.Contrast), True),
    (_enhanced(ImageEnhance.Brightness), True),
    (_enhanced(ImageEnhance.Sharpness), True),
    (lambda view, strength, fill: _moved(view, (1, 0.3 * strength, 0, 0, 1, 0), fill), True),
    (lambda view, strength, fill: _moved(view, (1, 0, 0, 0.3 * strength, 1, 0), fill), True),
    (lambda view, strength, fill: _moved(view, (1, 0, 0.45 * strength * view.width, 0, 1, 0), fill), True),
    (lambda view, strength, fill: _moved(view, (1, 0, 0, 0, 1, 0.45 * strength * view.height), fill), True),
)
