"""The published views are timm's transforms with another source of random numbers: so timm, given that source, must agree."""

from __future__ import annotations

import types
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import auto_augment, transforms
from torch import Tensor

from vitesse.data.preprocess import Preprocess, normalise
from vitesse.data.published_random import PublishedRandom
from vitesse.data.published_views import CHANGES, published_view

SEEDS = range(60)


def picture(width: int = 90, height: int = 61) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    channels = [127 + 120 * np.sin(x / 7 + k) * np.cos(y / (5 + k)) for k in range(3)]
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


def by_timm(image: Image.Image, seed: int, preprocess: Preprocess, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """The same view by timm's crop and RandAugment, before anything is erased: uint8 (3, H, W)."""
    source = PublishedRandom(seed)
    numbers = types.SimpleNamespace(random=types.SimpleNamespace(choice=source.np_choice))
    monkeypatch.setattr(transforms, "random", source)
    monkeypatch.setattr(auto_augment, "random", source)
    monkeypatch.setattr(auto_augment, "np", numbers)
    crop = transforms.RandomResizedCropAndInterpolation(preprocess.size, interpolation="bicubic")
    top, left, height, width = crop.get_params(image, crop.scale, crop.ratio)
    view = image.crop((left, top, left + width, top + height)).resize(preprocess.size[::-1], Image.Resampling.BICUBIC)
    if source.random() < 0.5:
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    fill = tuple(min(255, round(255 * mean)) for mean in preprocess.mean)
    hparams: dict[str, Any] = {"translate_const": 100, "img_mean": fill, "interpolation": Image.Resampling.BICUBIC}
    view = auto_augment.rand_augment_transform("rand-m9-mstd0.5-inc1", hparams)(view)
    return torch.from_numpy(np.array(view)).permute(2, 0, 1)


@pytest.mark.parametrize("size", [(90, 61), (40, 160), (160, 30)])
def test_crop_mirror_and_changes_are_timms_with_the_published_numbers(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    preprocess, image, untouched = Preprocess(size=(56, 56)), picture(*size), 0
    for seed in SEEDS:
        wanted = normalise(by_timm(image, seed, preprocess, monkeypatch), preprocess)
        found = published_view(image, seed, preprocess)
        erased = (found != wanted).any(0)  # (H, W); noise in a box, or nothing at all
        rows, columns = erased.any(1).nonzero(), erased.any(0).nonzero()
        if len(rows):
            box = erased[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            assert box.all(), seed
        else:
            untouched += 1
    assert len(SEEDS) / 2 < untouched < len(SEEDS)  # three of four are not erased


def test_every_change_is_met_in_its_published_order() -> None:
    image, grey = picture(), (124, 116, 104)
    assert [change(image, 0.5, grey).tobytes() for change, _ in CHANGES].count(image.tobytes()) == 0
    assert [signed for _, signed in CHANGES] == [False] * 3 + [True] + [False] * 3 + [True] * 8


def test_a_view_is_a_function_of_its_seed_alone() -> None:
    image, preprocess = picture(), Preprocess(size=(32, 32))
    first = published_view(image, 5, preprocess)
    np.random.default_rng(0)
    published_view(image, 6, preprocess)
    assert torch.equal(first, published_view(image, 5, preprocess))
    assert not torch.equal(first, published_view(image, 6, preprocess))


def test_what_is_erased_is_noise_of_the_normal_distribution() -> None:
    image, preprocess = Image.new("RGB", (64, 64)), Preprocess(size=(224, 224), mean=(0.0,) * 3, std=(1.0,) * 3)
    views = [published_view(image, seed, preprocess) for seed in range(400, 440)]
    # A plain picture has few colours, 0 to 1; only noise is beyond.
    noisy = [view for view in views if (view < 0).any()]
    assert 4 <= len(noisy) <= 20
    values = torch.cat([view[(view != view[:, :1, :1]) & (view != 0) & (view != 1)] for view in noisy])
    assert abs(float(values.mean())) < 0.02
    assert abs(float(values.std()) - 1) < 0.02
