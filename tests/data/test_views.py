import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vitesse.data import Augment, DataSettings, Mix, Preprocess, load_parts
from vitesse.data.views import seeded

Make = Callable[..., Path]


def images(settings: DataSettings, augment: Augment, *, epoch: int = 0, start: int = 0) -> list[torch.Tensor]:
    learn = load_parts(settings).learn
    mix = Mix(mixup=0.5)
    return [b.images for b in learn.train_batches(epoch=epoch, batch=4, seed=3, augment=augment, mix=mix, start=start)]


def test_decoded_anew_equals_kept_in_evaluation(make_folder: Make) -> None:
    kept = DataSettings(source=str(make_folder({"cat": 9, "dog": 9}, size=(40, 51))), size=32)
    for workers in (0, 1):
        anew = replace(kept, cache_bytes=0, workers=workers)
        for ours, theirs in zip(load_parts(kept).test.batches(3), load_parts(anew).test.batches(3), strict=True):
            assert torch.equal(ours.images, theirs.images) and torch.equal(ours.indices, theirs.indices)
        for first, second in zip(images(kept, Augment()), images(anew, Augment()), strict=True):
            assert torch.equal(first, second)


@pytest.mark.parametrize("channels", [1, 3])
def test_timm_views_are_replayed(make_folder: Make, channels: int) -> None:
    root = make_folder({"cat": 12, "dog": 12})
    settings = DataSettings(source=str(root), size=16, cache_bytes=0, workers=0, channels=channels)
    whole = images(settings, Augment.photos())
    forked = images(replace(settings, workers=2), Augment.photos(), start=1)
    assert len(whole) == 4 and whole[0].shape == (4, channels, 16, 16)
    for first, second in zip(whole[1:], forked, strict=True):
        assert torch.equal(first, second)
    assert not torch.equal(whole[0], images(settings, Augment.photos(), epoch=1)[0])


def test_global_sources_are_put_back() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.random()), float(torch.rand(()))  # noqa: NPY002

    states = random.getstate(), np.random.get_state()[1].tolist(), torch.random.get_rng_state()  # noqa: NPY002
    with seeded(7):
        first = draw()
    with pytest.raises(KeyError), seeded(7):
        raise KeyError
    with seeded(7):
        assert draw() == first
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]  # noqa: NPY002
    assert torch.equal(torch.random.get_rng_state(), states[2])


def test_the_kept_square_gives_the_direct_picture(make_folder: Make, tmp_path: Path) -> None:
    from vitesse.data import normalise, open_image, to_batch

    root = make_folder({"cat": 6, "dog": 6}, size=(33, 64))
    parts = load_parts(DataSettings(source=str(root)), preprocess=Preprocess(size=(17, 21), crop=0.9))
    batch = next(parts.test.batches(100))
    direct = to_batch([open_image(root / name) for name in parts.test.names], parts.preprocess)
    assert torch.equal(batch.images, normalise(direct, parts.preprocess))
