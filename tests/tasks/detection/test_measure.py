"""Mean average precision, where it is known by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vitesse.data.coco import CocoPart, Marked
from vitesse.tasks.detection.learning import Found
from vitesse.tasks.detection.measure import NAMES, precision

pytest.importorskip("pycocotools")

BOXES = np.array([[10, 10, 50, 60], [60, 20, 90, 50]], np.float32)


@pytest.fixture
def part() -> CocoPart:
    """Two pictures of 100 pixels with the same two objects, of classes 0 and 1; none is marked as a crowd."""
    rings = [[[float(v) for v in (x, y, u, y, u, v_, x, v_)]] for x, y, u, v_ in BOXES.tolist()]
    pictures = tuple(
        Marked(
            id=number, name=f"{number}.png", size=(100, 100), boxes=BOXES, labels=np.array([0, 1]),
            crowd=np.zeros(2, np.bool_), areas=np.array([2000, 900], np.float32), outlines=tuple(rings),
        )
        for number in (5, 3)
    )  # fmt: skip
    return CocoPart(images=Path("nowhere"), pictures=pictures, classes=("cat", "dog"))


def found(place: int, boxes: Tensor, scores: list[float], labels: list[int]) -> Found:
    return Found(place, boxes, torch.tensor(scores), torch.tensor(labels), None)


def test_all_right(part: CocoPart) -> None:
    scores = precision(part, [found(place, torch.from_numpy(BOXES), [0.9, 0.8], [0, 1]) for place in range(2)])
    assert scores == pytest.approx(
        {"mAP": 1.0, "AP50": 1.0, "AP75": 1.0, "AP_small": 1.0, "AP_medium": 1.0, "AP_large": None}
    )


def test_nothing_found(part: CocoPart) -> None:
    assert precision(part, [found(0, torch.zeros(0, 4), [], [])]) == dict.fromkeys(NAMES, 0.0)


def test_a_class_that_is_missed_halves_it(part: CocoPart) -> None:
    only = [found(place, torch.from_numpy(BOXES[:1]), [0.9], [0]) for place in range(2)]
    assert precision(part, only)["mAP"] == pytest.approx(0.5)


def test_a_wrong_class_is_wrong(part: CocoPart) -> None:
    swapped = [found(place, torch.from_numpy(BOXES), [0.9, 0.8], [1, 0]) for place in range(2)]
    assert precision(part, swapped)["mAP"] == 0.0


def test_an_overlap_of_0_8_counts_for_seven_of_ten_thresholds(part: CocoPart) -> None:
    """A box of 40 of the 50 rows: 0.5, 0.55, ... 0.8 are met, 0.85 and above are not."""
    boxes = torch.tensor([[10.0, 10.0, 50.0, 50.5], [60.0, 20.0, 90.0, 44.4]])  # 0.81 of each
    scores = precision(part, [found(place, boxes, [0.9, 0.8], [0, 1]) for place in range(2)])
    assert scores["mAP"] == pytest.approx(0.7) and scores["AP75"] == pytest.approx(1.0)


def test_masks_are_measured_beside_boxes(part: CocoPart) -> None:
    from pycocotools import mask

    whole = np.zeros((100, 100, 2), np.uint8, order="F")
    for place, (x, y, u, v) in enumerate(BOXES.astype(int).tolist()):
        whole[y : v - (15 if place else 0), x:u, place] = 1  # of the second one half is missing
    runs = mask.encode(whole)
    seen = [
        Found(place, torch.from_numpy(BOXES), torch.tensor([0.9, 0.8]), torch.tensor([0, 1]), runs)
        for place in range(2)
    ]
    scores = precision(part, seen)
    assert scores["mAP"] == pytest.approx(1.0)
    assert scores["mask_AP75"] == pytest.approx(0.5)
