from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from vitesse.data.source import open_source
from vitesse.errors import VitesseError

Noise = Callable[..., Image.Image]


def test_digits_are_scaled_to_bytes() -> None:
    source = open_source("digits")
    assert len(source.names) == 1797 and len(source.classes) == 10
    bunch = load_digits()
    picture = np.asarray(Image.open(BytesIO(source.read(5))))
    assert np.array_equal(picture, np.round(bunch.images[5] / 16 * 255))
    assert source.labels[5] == bunch.target[5]


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(VitesseError, match=r"nothere does not exist\. Give"):
        open_source(str(tmp_path / "nothere"))


def test_a_stray_archive_in_a_class_does_not_make_shards(make_folder: Callable[..., Path]) -> None:
    root = make_folder({"cat": 2, "dog": 2})
    (root / "cat" / "backup.tar").write_bytes(b"x")
    assert open_source(str(root)).classes == ("cat", "dog")


def test_one_class_is_refused(make_folder: Callable[..., Path]) -> None:
    with pytest.raises(VitesseError, match=r"one class only \(cat\)"):
        open_source(str(make_folder({"cat": 2})))


def test_an_image_file_is_no_source(tmp_path: Path, noise: Noise) -> None:
    noise(0).save(tmp_path / "a.png")
    with pytest.raises(VitesseError, match=r"cannot be indexed as an uncompressed \.tar"):
        open_source(str(tmp_path / "a.png"))
