"""Mean average precision as COCO defines it, by COCO's own code."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

from vitesse.data.boxed import coco_tool
from vitesse.data.coco import CocoPart, Marked
from vitesse.tasks.detection.learning import Found

# The figures that COCO's evaluation gives, in its order: precisions over overlaps 0.5 to 0.95, at 0.5, at 0.75, and of
# objects below 32 x 32 pixels, below 96 x 96 and above.
NAMES = ("mAP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")


def precision(part: CocoPart, found: Sequence[Found]) -> dict[str, float | None]:
    """The figures of NAMES for boxes, each from 0 to 1, and as mask_mAP, ... for masks where they were found.

    None where the part has no object of that kind. UsageError without pycocotools.
    """
    truth = _truth(part)
    scores = dict(zip(NAMES, _scores(truth, _boxes(part, found), "bbox"), strict=True))
    if any(one.masks is not None for one in found):
        for name, value in zip(NAMES, _scores(truth, _masks(part, found), "segm"), strict=True):
            scores[f"mask_{name}"] = value
    return scores


def _truth(part: CocoPart) -> Any:
    """The part as pycocotools holds it."""
    annotations = [entry for one in part.pictures for entry in _entries(one)]
    truth = coco_tool("coco").COCO()
    truth.dataset = {
        "images": [{"id": one.id, "height": one.size[0], "width": one.size[1]} for one in part.pictures],
        "annotations": [entry | {"id": number} for number, entry in enumerate(annotations, start=1)],
        "categories": [{"id": place, "name": name} for place, name in enumerate(part.classes)],
    }
    with _silence():
        truth.createIndex()
    return truth


def _entries(picture: Marked) -> list[dict[str, Any]]:
    corners, sides = picture.boxes[:, :2], picture.boxes[:, 2:] - picture.boxes[:, :2]
    return [
        {
            "image_id": picture.id,
            "category_id": int(picture.labels[row]),
            "bbox": [*corners[row].tolist(), *sides[row].tolist()],
            "area": float(picture.areas[row]),
            "iscrowd": int(picture.crowd[row]),
            **({} if picture.outlines[row] is None else {"segmentation": picture.outlines[row]}),
        }
        for row in range(len(picture.labels))
    ]


def _boxes(part: CocoPart, found: Sequence[Found]) -> list[dict[str, Any]]:
    return [
        {"image_id": part.pictures[one.place].id, "category_id": label, "score": score, "bbox": [x, y, u - x, v - y]}
        for one in found
        for (x, y, u, v), score, label in zip(one.boxes.tolist(), one.scores.tolist(), one.labels.tolist(), strict=True)
    ]


def _masks(part: CocoPart, found: Sequence[Found]) -> list[dict[str, Any]]:
    return [
        {"image_id": part.pictures[one.place].id, "category_id": label, "score": score, "segmentation": runs}
        for one in found
        for runs, score, label in zip(one.masks or [], one.scores.tolist(), one.labels.tolist(), strict=True)
    ]


def _scores(truth: Any, results: list[dict[str, Any]], kind: str) -> list[float | None]:
    if not results:  # which pycocotools does not take
        return [0.0] * len(NAMES)
    with _silence():
        judge = coco_tool("cocoeval").COCOeval(truth, truth.loadRes(results), kind)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return [float(value) if value >= 0 else None for value in judge.stats[: len(NAMES)]]


def _silence() -> contextlib.redirect_stdout[io.StringIO]:
    """pycocotools prints what it does; the output is for results alone."""
    return contextlib.redirect_stdout(io.StringIO())
