"""A student that learns from a store of TinyViT's published layout: its views are those that the teacher saw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from vitesse.data import DataSettings, Mix, Preprocess, load_parts
from vitesse.data.augment import Augment
from vitesse.data.image import decode
from vitesse.data.published_views import published_view
from vitesse.distill.store import LogitStore
from vitesse.distill.store.comparing import compare
from vitesse.distill.store.published import from_published
from vitesse.errors import UsageError
from vitesse.shrink.stored import Stored

PREPROCESS = Preprocess(size=(24, 24))
EPOCHS, TOP = (3, 4), 3


class Teacher(nn.Module):
    """Three classes, by the mean colours."""

    def forward(self, images: Tensor) -> Tensor:
        return 3 * images.mean((2, 3))


def seed_of(epoch: int, number: int) -> int:
    return 1000 * epoch + 7 * number


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Pictures of three classes in given parts."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 6), ("val", 2), ("test", 2)):
        for kind in range(3):
            for number in range(count):
                pixels = rng.integers(0, 120, (40, 50, 3), dtype=np.uint8)
                pixels[..., kind] += 100
                file = tmp_path / "photos" / part / f"class{kind}" / f"{part}{kind}_{number}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(file)
    return tmp_path / "photos"


@pytest.fixture
def store(photos: Path, tmp_path: Path) -> LogitStore:
    """What the published code would have written of this teacher, names in an order of their own; converted."""
    files = sorted((photos / "train").rglob("*.png"), reverse=True)
    for epoch in EPOCHS:
        folder = tmp_path / "published" / f"logits_top{TOP}_epoch{epoch}"
        folder.mkdir(parents=True)
        names, data = "", b""
        for number, file in enumerate(files):
            view = published_view(decode(file.read_bytes(), "").convert("RGB"), seed_of(epoch, number), PREPROCESS)
            values, classes = Teacher()(view[None]).softmax(-1)[0].sort(descending=True)
            data += np.int32(seed_of(epoch, number)).tobytes() + classes.numpy().astype("<i2").tobytes()
            data += values.numpy().astype("<f2").tobytes()
            names += f"{file.stem}\n"
        (folder / "rank0-keys.txt").write_text(names)
        (folder / "rank0-values.bin").write_bytes(data)
    return from_published(tmp_path / "published", tmp_path / "store", classes=3, teacher="colours")


def settings(photos: Path, workers: int) -> DataSettings:
    return DataSettings(source=str(photos), workers=workers, cache_bytes=0)


@pytest.mark.parametrize("workers", [0, 2])
def test_cached_equals_live(photos: Path, store: LogitStore, workers: int) -> None:
    parts = load_parts(settings(photos, workers), preprocess=PREPROCESS)
    stored = Stored(store.folder, smoothing=0.0)
    assert stored.preprocess is None and stored.whole_pictures
    stored.require(parts)
    answer, seen = stored.answers(steps_per_epoch=3), 0
    for epoch in range(3):  # the third reuses the first stored one
        for step, batch in enumerate(stored.batches(parts, batch=6, epoch=epoch, start=0, rank=0, world=1)):
            live = Teacher()(batch.images).softmax(-1)
            assert torch.allclose(answer(batch, 3 * epoch + step).softmax(-1), live, atol=1e-3)
            seen += len(batch.indices)
    assert seen == 3 * 18


def test_ranks_and_a_later_start_see_the_same_views(photos: Path, store: LogitStore) -> None:
    parts = load_parts(settings(photos, 0), preprocess=PREPROCESS)
    stored = Stored(store.folder, smoothing=0.0)
    stored.require(parts)
    whole = list(stored.batches(parts, batch=6, epoch=0, start=0, rank=0, world=1))
    shares = [list(stored.batches(parts, batch=6, epoch=0, start=1, rank=rank, world=2)) for rank in range(2)]
    for full, *halves in zip(whole[1:], *shares, strict=True):
        assert torch.equal(full.images, torch.cat([half.images for half in halves]))


def test_the_teacher_is_asked_again(photos: Path, store: LogitStore) -> None:
    parts = load_parts(settings(photos, 0), preprocess=PREPROCESS)
    found = compare(store, Teacher(), parts, samples=30)
    assert found.agrees and found.samples == 30 and found.same_first == 1.0
    other = load_parts(settings(photos, 0), preprocess=Preprocess(size=(24, 24), mean=(0.1, 0.5, 0.9)))
    assert not compare(store, Teacher(), other, samples=30).agrees


def renamed(photos: Path) -> None:
    next((photos / "train" / "class1").iterdir()).rename(photos / "train" / "class1" / "other.png")


def test_images_without_records_are_refused(photos: Path, store: LogitStore) -> None:
    renamed(photos)
    parts = load_parts(settings(photos, 0), preprocess=PREPROCESS)
    with pytest.raises(UsageError, match="18 images the store .* lacks 1 at least"):
        Stored(store.folder, smoothing=0.0).require(parts)


def test_squares_and_grey_pictures_are_refused(photos: Path) -> None:
    def views(preprocess: Preprocess, **changes: int) -> Callable[[], object]:
        part = load_parts(DataSettings(source=str(photos), workers=0, **changes), preprocess=preprocess).learn
        seeds = lambda indices: indices  # noqa: E731
        return lambda: next(part.train_batches(epoch=0, batch=2, seed=0, augment=Augment(), mix=Mix(), published=seeds))

    with pytest.raises(UsageError, match="Set cache_bytes to 0"):
        views(PREPROCESS)()
    grey = Preprocess(size=(24, 24), channels=1, mean=(0.5,), std=(0.5,))
    with pytest.raises(UsageError, match="in colour"):
        views(grey, cache_bytes=0)()
