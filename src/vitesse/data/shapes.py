"""A small set to try detection on: circles, squares and triangles on noise, with boxes and outlines as COCO has them."""

from __future__ import annotations

from itertools import count as numbers
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from vitesse.data.coco import ANNOTATIONS, IMAGES
from vitesse.data.replay import uniform
from vitesse.runs.files import atomic_path, write_json

CLASSES = ("circle", "square", "triangle")
_CORNERS = (32, 4, 3)  # a circle is a polygon, too
_TRIES = 4  # objects that are drawn for a picture; those that would cover another are left out
_DRAWS = 8  # random numbers for each


def make_shapes(folder: Path | str, *, count: int, side: int = 96, seed: int = 0, channels: int = 3) -> Path:
    """Write `count` pictures of side x side pixels with one to four objects each, a function of the arguments."""
    folder = Path(folder)
    pictures, annotations, number = [], [], numbers(1)
    draws = uniform(seed, 0, np.arange(count), _TRIES * _DRAWS).reshape(count, _TRIES, _DRAWS)
    for row in range(count):
        name = f"{row:05d}.png"
        pictures.append({"id": row + 1, "file_name": name, "width": side, "height": side})
        generator = np.random.default_rng([seed, row])
        picture = Image.fromarray(generator.integers(96, 160, (side, side, 3), dtype=np.uint8))
        for kind, outline, colour in _objects(draws[row], side):
            ImageDraw.Draw(picture).polygon([tuple(corner) for corner in outline.tolist()], fill=colour)
            low, high = outline.min(0), outline.max(0)
            box = [*low.tolist(), *(high - low).tolist()]
            annotations.append(
                {
                    "id": next(number),
                    "image_id": row + 1,
                    "category_id": kind + 1,
                    "bbox": box,
                    "area": _area(outline),
                    "iscrowd": 0,
                    "segmentation": [outline.reshape(-1).tolist()],
                }
            )
        with atomic_path(folder / IMAGES / name) as draft:
            picture.convert("L" if channels == 1 else "RGB").save(draft)
    categories = [{"id": place + 1, "name": name} for place, name in enumerate(CLASSES)]
    write_json(folder / ANNOTATIONS, {"images": pictures, "annotations": annotations, "categories": categories})
    return folder


def _objects(
    draws: npt.NDArray[np.float64], side: int
) -> list[tuple[int, npt.NDArray[np.float64], tuple[int, int, int]]]:
    """Class, corners (n, 2) and colour of the objects of one picture; no two lie close to each other."""
    found: list[tuple[int, npt.NDArray[np.float64], tuple[int, int, int]]] = []
    places: list[tuple[float, float, float]] = []
    for kind, size, across, down, turn, red, green, blue in draws.tolist():
        radius = side * (0.14 + 0.11 * size)
        x, y = (radius + place * (side - 2 * radius) for place in (across, down))
        if any((x - u) ** 2 + (y - v) ** 2 < (radius + other) ** 2 for u, v, other in places):
            continue
        places.append((x, y, radius))
        shape = int(kind * len(CLASSES))
        corners = _CORNERS[shape]
        angles = 2 * np.pi * (turn / corners + np.arange(corners) / corners)
        outline = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], 1).round(2)
        # Each colour is darker or brighter than the noise, so that the object can be seen.
        red, green, blue = (int(100 * value) + (155 if value > 0.5 else 0) for value in (red, green, blue))
        found.append((shape, outline, (red, green, blue)))
    return found


def _area(outline: npt.NDArray[np.float64]) -> float:
    """The area of a polygon by its corners (the shoelace formula)."""
    following = np.roll(outline, -1, 0)
    return float(abs((outline[:, 0] * following[:, 1] - following[:, 0] * outline[:, 1]).sum()) / 2)
