"""COCO's files: what is read, what is left out and said, and how a wrong one is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vitesse.data.coco import CocoSettings, load_coco, read_coco
from vitesse.errors import UsageError, VitesseError

RING = [1.0, 1.0, 9.0, 1.0, 9.0, 9.0]


def content(pictures: int = 2) -> dict[str, Any]:
    """Two objects on every picture of 20 x 10 pixels; the ids of the categories have a gap."""
    return {
        "images": [{"id": 10 + i, "file_name": f"{i}.png", "width": 20, "height": 10} for i in range(pictures)],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": [
            {"id": i, "image_id": 10 + i % pictures, "category_id": (3, 7)[i % 2], "bbox": [1, 2, 8, 4], "segmentation": [RING]}
            for i in range(2 * pictures)
        ],
    }  # fmt: skip


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(values: Any, folder: str = "") -> Path:
        root = tmp_path / folder
        (root / "images").mkdir(parents=True)
        for one in values["images"] if isinstance(values, dict) and isinstance(values.get("images"), list) else ():
            Image.new("RGB", (20, 10)).save(root / "images" / str(one.get("file_name", "x.png")))
        (root / "annotations.json").write_text(json.dumps(values))
        return root

    return write


def read(root: Path) -> Any:
    return read_coco(root / "annotations.json", root / "images")


def test_what_is_marked(write: Callable[..., Path]) -> None:
    values = content(1)
    values["annotations"][1] |= {"iscrowd": 1, "area": 5, "segmentation": {"size": [10, 20], "counts": [200]}}
    part = read(write(values))
    (one,) = part.pictures
    assert part.classes == ("cat", "dog")  # by their ids
    assert (one.id, one.name, one.size) == (10, "0.png", (10, 20))
    assert one.boxes.tolist() == [[1, 2, 9, 6]] * 2
    assert one.labels.tolist() == [0, 1]
    assert one.crowd.tolist() == [False, True]
    assert one.areas.tolist() == [32, 5]
    assert one.outlines[0] == [RING]


def test_boxes_are_cut_to_the_picture_and_empty_ones_left_out(write: Callable[..., Path]) -> None:
    values = content(1)
    values["annotations"][0]["bbox"] = [-5, 5, 10, 50]
    values["annotations"][1]["bbox"] = [30, 2, 8, 4]
    part = read(write(values))
    assert part.pictures[0].boxes.tolist() == [[0, 5, 5, 10]]
    assert len(part.notes) == 1 and part.notes[0].startswith("1 boxes")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v.pop("annotations"), "annotations must be a list, but is missing"),
        (lambda v: v["annotations"][1].pop("bbox"), r"annotations\[1\].bbox must be 4 numbers, but is missing"),
        (lambda v: v["annotations"][1].update(bbox=[1, 2, "3", 4]), r"annotations\[1\].bbox must be 4 numbers"),
        (lambda v: v["annotations"][1].update(bbox=[1, 2, float("nan"), 4]), r"annotations\[1\].bbox must be 4 numbers"),
        (lambda v: v["annotations"][1].update(bbox=[1, 2, -3, 4]), r"annotations\[1\].bbox must be x, y, width"),
        (lambda v: v["annotations"][0].update(category_id=9), r"annotations\[0\].category_id .* 9 is none"),
        (lambda v: v["annotations"][0].update(image_id=9), r"annotations\[0\].image_id .* 9 is none"),
        (lambda v: v["annotations"][0].update(segmentation=[[1, 2, 3]]), r"annotations\[0\].segmentation must be polygons"),
        (lambda v: v["annotations"][0].update(segmentation=3), r"annotations\[0\].segmentation must be polygons, or run"),
        (lambda v: v["images"][0].pop("height"), r"images\[0\].height must be a whole number, but is missing"),
        (lambda v: v["images"][0].update(id="a"), r"images\[0\].id must be a whole number, but is 'a'"),
        (lambda v: v["categories"][0].update(id=3), "categories must have an id and a name each"),
        (lambda v: v.update(images=3), "images must be a list, but is 3"),
        (lambda v: v["categories"].append(5), r"categories\[2\] must be a JSON object"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(write: Callable[..., Path], change: Callable[[Any], object], words: str) -> None:
    values = content()
    change(values)
    with pytest.raises(VitesseError, match=f"annotations.json: .*{words}|annotations.json: {words}"):
        read(write(values))


def test_a_missing_picture_is_named(write: Callable[..., Path]) -> None:
    root = write(content())
    (root / "images" / "1.png").unlink()
    with pytest.raises(VitesseError, match=r"images\[1\].file_name is 1.png, but .*1.png does not exist"):
        read(root)


def test_no_json(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations.json").write_text("{")
    with pytest.raises(VitesseError, match=r"annotations.json cannot be read as JSON"):
        read(tmp_path)


def test_one_file_is_divided_by_the_seed(write: Callable[..., Path]) -> None:
    root = write(content(10))

    def names(seed: int) -> tuple[set[str], set[str]]:
        learn, exam = load_coco(CocoSettings(source=str(root), val_fraction=0.3, seed=seed))
        return {one.name for one in learn.pictures}, {one.name for one in exam.pictures}

    first, again, other = names(0), names(0), names(1)
    assert first == again != other
    assert len(first[1]) == 3 and len(first[0]) == 7 and not first[0] & first[1]


def test_given_parts(write: Callable[..., Path], tmp_path: Path) -> None:
    write(content(3), "train")
    write(content(2), "val")
    learn, exam = load_coco(CocoSettings(source=str(tmp_path)))
    assert (len(learn), len(exam)) == (3, 2)
    assert exam.images == tmp_path / "val" / "images"


def test_coco_as_it_is_published(write: Callable[..., Path], tmp_path: Path) -> None:
    for part, count in (("train2017", 3), ("val2017", 2)):
        root = write(content(count), part)
        (root / "images").rename(tmp_path / "moved")
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (root / "annotations.json").rename(tmp_path / "annotations" / f"instances_{part}.json")
        root.rmdir()
        (tmp_path / "moved").rename(root)
    learn, exam = load_coco(CocoSettings(source=str(tmp_path)))
    assert (len(learn), len(exam)) == (3, 2)


def test_parts_with_other_classes_are_refused(write: Callable[..., Path], tmp_path: Path) -> None:
    write(content(3), "train")
    other = content(2)
    other["categories"][0]["name"] = "horse"
    write(other, "val")
    with pytest.raises(VitesseError, match="same categories"):
        load_coco(CocoSettings(source=str(tmp_path)))


def test_pictures_without_objects_are_examined_but_not_learned(write: Callable[..., Path], tmp_path: Path) -> None:
    for part in ("train", "val"):
        values = content(3)
        values["annotations"] = [one for one in values["annotations"] if one["image_id"] != 11]
        write(values, part)
    learn, exam = load_coco(CocoSettings(source=str(tmp_path)))
    assert (len(learn), len(exam)) == (2, 3)
    assert learn.notes == ("1 pictures to learn from show no object and are left out.",)


def test_masks_need_outlines(write: Callable[..., Path]) -> None:
    values = content()
    values["annotations"][0].pop("segmentation")
    part = read(write(values))
    with pytest.raises(VitesseError, match="without a segmentation, such as 0.png"):
        part.require_masks()


@pytest.mark.parametrize("source", ["", "nowhere"])
def test_a_source_that_is_none(source: str) -> None:
    with pytest.raises(UsageError, match="--data"):
        load_coco(CocoSettings(source=source))


def test_boxes_are_float32(write: Callable[..., Path]) -> None:
    part = read(write(content() | {"annotations": []}))
    assert part.pictures[0].boxes.shape == (0, 4) and part.pictures[0].boxes.dtype == np.float32
