import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from vitesse.data import DataSettings, Parts, Preprocess, load_parts
from vitesse.errors import UsageError, VitesseError

Make = Callable[..., Path]
Noise = Callable[..., Image.Image]


def load(root: Path, **settings: object) -> Parts:
    return load_parts(DataSettings(source=str(root), **settings))  # type: ignore[arg-type]


def test_digits() -> None:
    parts = load_parts(DataSettings())
    assert [len(p) for p in (parts.learn, parts.search, parts.test)] == [1169, 269, 359]
    assert parts.preprocess == Preprocess(
        size=(8, 8), channels=1, mean=(0.5,), std=(0.5,), crop=1.0, interpolation="bicubic"
    )
    names = [set(p.names) for p in (parts.learn, parts.search, parts.test)]
    assert len(set.union(*names)) == 1797
    batch = next(parts.test.batches(16))
    assert batch.images.shape == (16, 1, 8, 8) and batch.images.dtype == torch.float32
    assert batch.images.min() == -1 and batch.images.max() == 1
    assert load_parts(DataSettings(), preprocess=Preprocess(size=(32, 32))).learn.labels.equal(parts.learn.labels)


@pytest.mark.parametrize(("size", "expected"), [((20, 24), 32), ((100, 70), 64), ((75, 300), 80), ((260, 300), 224)])
def test_the_size_follows_the_images(make_folder: Make, size: tuple[int, int], expected: int) -> None:
    assert load(make_folder({"cat": 3, "dog": 3}, size=size)).preprocess.size == (expected, expected)


def test_grey_images_have_one_channel(make_folder: Make, noise: Noise) -> None:
    root = make_folder({"cat": 3, "dog": 3})
    assert load(root).preprocess.channels == 3
    for file in root.rglob("*.png"):
        Image.open(file).convert("L").save(file)
    assert load(root).preprocess.channels == 1
    assert load(root, channels=3).preprocess.channels == 3


def test_settings_and_preprocess_must_agree(make_folder: Make) -> None:
    root = make_folder({"cat": 3, "dog": 3})
    settings = DataSettings(source=str(root), size=48)
    assert load_parts(settings, preprocess=Preprocess(size=(48, 48))).preprocess.size == (48, 48)
    with pytest.raises(UsageError, match=r"size \(32, 32\), but the data settings say 48"):
        load_parts(settings, preprocess=Preprocess(size=(32, 32)))


def test_copies_stay_in_one_part_whatever_their_format(make_folder: Make) -> None:
    root = make_folder({"cat": 8, "dog": 8})
    for place in range(4):
        shutil.copy(root / "cat" / f"{place:03d}.png", root / "cat" / f"copy{place}.png")
        Image.open(root / "cat" / f"{place:03d}.png").save(root / "cat" / f"other{place}.bmp")
    parts = load(root)
    where = {Path(n).name: p for p in (parts.learn, parts.search, parts.test) for n in p.names}
    assert len(where) == 8 + 8 + 8 - 8  # the dogs share their files' names with the cats
    cats = {n: p for p in (parts.learn, parts.search, parts.test) for n in p.names if n.startswith("cat")}
    for place in range(4):
        family = [f"cat/{place:03d}.png", f"cat/copy{place}.png", f"cat/other{place}.bmp"]
        assert len({id(cats[name]) for name in family}) == 1
    assert parts.notes == ("8 images are copies of others; copies are kept within one part.",)


def test_a_copy_with_another_label_is_reported(make_folder: Make) -> None:
    root = make_folder({"cat": 8, "dog": 8})
    shutil.copy(root / "cat" / "002.png", root / "dog" / "same.png")
    parts = load(root)
    assert "cat/002.png (cat) = dog/same.png (dog)" in parts.notes[1]


def test_a_copy_of_a_given_test_image_is_dropped(make_folder: Make) -> None:
    root = make_folder({f"{part}/{kind}": 4 for part in ("train", "val", "test") for kind in ("cat", "dog")})
    shutil.copy(root / "test" / "cat" / "000.png", root / "train" / "cat" / "leak.png")
    parts = load(root)
    assert [len(p) for p in (parts.learn, parts.search, parts.test)] == [8, 8, 8]
    assert "train/cat/leak.png" not in parts.learn.names
    assert parts.notes == ("1 images are copies of others; copies are kept within one part, 1 were dropped for it.",)


def test_corrupt_images_are_named_and_left_out_up_to_a_share(make_folder: Make) -> None:
    root = make_folder({"cat": 10, "dog": 10})
    (root / "cat" / "001.png").write_bytes(b"broken")
    whole = (root / "dog" / "003.png").read_bytes()
    (root / "dog" / "003.png").write_bytes(whole[: len(whole) // 2])  # its header is sound
    with pytest.raises(VitesseError, match=r"share of 0\.01 .* but 1 of 20 in .*\n.*001\.png is no readable image"):
        load(root)
    with pytest.raises(VitesseError, match=r"but 2 of 20"):
        load(root, max_corrupt=0.05)
    for cache_bytes in (2**30, 0):
        parts = load(root, max_corrupt=0.1, cache_bytes=cache_bytes, workers=0)
        assert len(parts.learn) + len(parts.search) + len(parts.test) == 18
        assert "2 of 20 images cannot be read" in parts.notes[0]
        assert "001.png" in parts.notes[0] and "003.png" in parts.notes[0]


def test_a_class_with_two_images_is_named(make_folder: Make) -> None:
    with pytest.raises(VitesseError, match=r"at least 3 different images, but class 'dog'.*Add images"):
        load(make_folder({"cat": 5, "dog": 2}))


def test_the_fingerprint_follows_images_labels_and_split(make_folder: Make, noise: Noise) -> None:
    root = make_folder({"cat": 6, "dog": 6})
    first = load(root)
    assert load(root).fingerprint == first.fingerprint
    assert load(root, cache_bytes=0, workers=0).fingerprint == first.fingerprint
    assert load(root, size=48).fingerprint == first.fingerprint
    seen = {first.fingerprint, load(root, seed=1).fingerprint, load(root, test_fraction=0.4).fingerprint}
    noise(99).save(root / "cat" / "000.png")
    seen.add(load(root).fingerprint)
    (root / "cat" / "005.png").rename(root / "dog" / "zzz.png")
    seen.add(load(root).fingerprint)
    (root / "cat").rename(root / "bird")
    seen.add(load(root).fingerprint)
    assert len(seen) == 6


def test_progress_is_told(make_folder: Make) -> None:
    told: list[tuple[int, int, str]] = []
    root = make_folder({"cat": 3, "dog": 3})
    load_parts(DataSettings(source=str(root)), progress=lambda *news: told.append(news))
    assert told == [(6, 6, "reading images"), (6, 6, "decoding images")]


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 0},
        {"search_fraction": 0.0},
        {"search_fraction": 0.6, "test_fraction": 0.4},
        {"max_corrupt": 1.5},
        {"workers": -1},
        {"channels": 2},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        replace(DataSettings(), **wrong)  # type: ignore[arg-type]
