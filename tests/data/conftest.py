"""Small images that the tests make themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def noise() -> Callable[..., Image.Image]:
    """Make a colour picture, its own for each seed: `noise(3, (height, width))`."""

    def make(seed: int, size: tuple[int, int] = (20, 24)) -> Image.Image:
        return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))

    return make


@pytest.fixture
def make_folder(tmp_path: Path, noise: Callable[..., Image.Image]) -> Callable[..., Path]:
    """Make a folder of PNG images: `make_folder({"cat": 5, "dog": 5})`, or with paths like "train/cat"."""

    def make(counts: dict[str, int], *, name: str = "photos", size: tuple[int, int] = (20, 24)) -> Path:
        root = tmp_path / name
        number = 0
        for kind, count in counts.items():
            (root / kind).mkdir(parents=True)
            for place in range(count):
                noise(number, size).save(root / kind / f"{place:03d}.png")
                number += 1
        return root

    return make
