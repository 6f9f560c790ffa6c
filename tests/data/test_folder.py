from collections.abc import Callable
from pathlib import Path

import pytest

from vitesse.data.folder import image_endings, open_folder
from vitesse.data.source import FREE, TEST, TRAIN, VAL
from vitesse.errors import VitesseError


def test_classes_are_folders_in_order(make_folder: Callable[..., Path]) -> None:
    root = make_folder({"dog": 2, "cat": 3})
    source = open_folder(root)
    assert source.classes == ("cat", "dog")
    assert source.labels.tolist() == [0, 0, 0, 1, 1]
    assert set(source.given.tolist()) == {FREE}
    assert source.names[3] == str(Path("dog", "000.png"))
    assert source.read(3) == (root / "dog" / "000.png").read_bytes()


def test_given_parts(make_folder: Callable[..., Path]) -> None:
    root = make_folder({"train/a": 2, "train/b": 2, "val/a": 1, "val/b": 1, "test/a": 1, "test/b": 1})
    assert sorted(open_folder(root).given.tolist()) == [TRAIN] * 4 + [VAL] * 2 + [TEST] * 2


def test_train_alone_is_to_be_split(make_folder: Callable[..., Path]) -> None:
    assert set(open_folder(make_folder({"train/a": 2, "train/b": 2})).given.tolist()) == {FREE}


def test_a_class_may_be_called_train(make_folder: Callable[..., Path]) -> None:
    assert open_folder(make_folder({"bus": 2, "train": 2})).classes == ("bus", "train")


def test_parts_without_train_are_refused(make_folder: Callable[..., Path]) -> None:
    with pytest.raises(VitesseError, match="no train folder"):
        open_folder(make_folder({"val/a": 1, "test/a": 1}))


def test_other_files_are_counted_and_images_below_found(make_folder: Callable[..., Path]) -> None:
    root = make_folder({"cat": 1, "dog/deep/deeper": 1})
    (root / "cat" / "notes.txt").write_text("x")
    (root / "readme.md").write_text("x")
    (root / "cat" / ".hidden.png").write_text("x")
    (root / "cat" / "000.png").rename(root / "cat" / "A.PNG")
    source = open_folder(root)
    assert len(source.names) == 2
    assert source.notes == ("2 files are no images of a class folder and were left out.",)


@pytest.mark.parametrize("folders", [{"cat": 3}, {"cat": 3, "dog": 0}, {}, {"cat": 0, "dog": 0}])
def test_poor_folders_are_named(make_folder: Callable[..., Path], tmp_path: Path, folders: dict[str, int]) -> None:
    (tmp_path / "photos").mkdir(exist_ok=True)
    with pytest.raises(VitesseError, match=r"photos.*(Put|remove)"):
        open_folder(make_folder(folders) if folders else tmp_path / "photos")


def test_endings_are_those_that_can_be_read() -> None:
    assert {".jpg", ".png", ".webp", ".tif", ".bmp"} <= image_endings()
    assert ".pdf" not in image_endings()  # Pillow writes it only
