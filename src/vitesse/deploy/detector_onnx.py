"""A detector as one ONNX file, and its reader: pictures of any size in, boxes with scores and classes out, by NumPy.

A RetinaNet's file gives the likeliest candidates of every level, and the reader drops those with low scores and, of boxes of
one class that overlap, all but the likeliest. A Mask R-CNN's file, whose second stage sees what is left of the first, does that
within; it also takes `sizes`, the height and width of the pictures on the canvas, and the reader drops what has no score.

Beside the table of `deploy.metadata`, whose preprocess says the size of the canvas and the colours, such a file has
vitesse.detector  JSON: the `Limits` of the reader
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import nn

from vitesse.data import Preprocess
from vitesse.deploy.metadata import Metadata, installed_version
from vitesse.deploy.onnx_export import tidy, traced
from vitesse.deploy.onnx_runtime import DETECTOR, session
from vitesse.errors import VitesseError

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
OUTPUTS = ("boxes", "scores", "labels")
MASKED = (*OUTPUTS, "masks", "objectness")


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How a file is fed and read.

    shorter, longer: the side to which a picture's shorter one is brought, and what its longer one may not exceed; the canvas
    may ask for less. score: the least that is reported. overlap: above it (intersection over union) the likelier box of a
    class stays alone. most: detections of one picture.
    """

    shorter: int
    longer: int
    score: float
    overlap: float
    most: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Detections:
    """What was found on one picture, likeliest first: boxes (n, 4) x1, y1, x2, y2 in its pixels, scores and labels (n,).

    masks: (n, m, m) probabilities of what lies in each box, for `pasted`; None of a detector of boxes alone.
    """

    boxes: Floats
    scores: Floats
    labels: Ints
    masks: Floats | None = None


def export_detector(
    candidates: nn.Module,
    path: Path | str,
    *,
    preprocess: Preprocess,
    classes: Sequence[str],
    limits: Limits,
    outputs: Sequence[str] = OUTPUTS,
) -> None:
    """Write what gives candidates to `path`: `images` float32 (B, C, H, W) in 0..1 -> boxes (B, N, 4), scores, labels (B, N).

    candidates: in evaluation mode, on the CPU, normalisation inside, for pictures of `preprocess.size`. With the outputs MASKED
    it takes `sizes` (B, 2) too, and gives masks (B, N, m, m) and objectness (B, M). Unchecked: see `detector_gate`.
    VitesseError where it cannot be exported.
    """
    about = Metadata(preprocess=preprocess, classes=tuple(classes), arch_json=None, version=installed_version())
    example = torch.rand(2, preprocess.channels, *preprocess.size, generator=torch.Generator().manual_seed(0))
    inputs = {"images": example}
    if outputs == MASKED:
        inputs["sizes"] = torch.tensor([preprocess.size] * 2, dtype=torch.float32)
    proto = traced(candidates, inputs, [{0: torch.export.Dim("batch")}] * len(inputs), outputs=outputs)
    tidy(proto, about.to_props() | {DETECTOR: json.dumps(asdict(limits))})
    Path(path).write_bytes(proto.SerializeToString())


class OnnxDetector:
    """An exported detector in ONNX Runtime on the CPU. VitesseError where the file is missing, damaged or no detector."""

    def __init__(self, path: Path | str, *, threads: int | None = None) -> None:
        self.path = Path(path)
        self._session = session(self.path, threads)
        words: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        about = Metadata.from_props(words)
        if about is None or DETECTOR not in words:
            raise VitesseError(f"{self.path} is no detector that Vitesse wrote. Name the detector.onnx of a run.")
        self.classes, self.preprocess = about.classes, about.preprocess
        self.limits = Limits(**json.loads(words[DETECTOR]))
        self._outputs = [one.name for one in self._session.get_outputs()]
        self.masks = "masks" in self._outputs

    def detect(self, picture: Image.Image) -> Detections:
        """What is on a picture of any size."""
        canvas, size = laid_out(picture, self.preprocess, self.limits)
        found = self.chosen(canvas[None], [size])[0]
        back = np.array([picture.width / size[1], picture.height / size[0]] * 2, np.float32)
        return replace(found, boxes=found.boxes * back)

    def chosen(self, canvas: Floats, sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """What is on canvases (B, C, H, W) in 0..1 that show pictures of these (height, width); boxes on the canvas."""
        given = self.candidates(canvas, sizes)
        found = zip(given["boxes"], given["scores"], given["labels"], sizes, strict=True)
        if not self.masks:
            return [
                choose(boxes, scores, labels, size=size, limits=self.limits) for boxes, scores, labels, size in found
            ]
        counts = (given["scores"] > 0).sum(1)  # likeliest first, then those that were suppressed
        return [
            Detections(boxes=boxes[:count], scores=scores[:count], labels=labels[:count], masks=masks[:count])
            for (boxes, scores, labels, _), masks, count in zip(found, given["masks"], counts, strict=True)
        ]

    def candidates(self, canvas: Floats, sizes: Sequence[tuple[int, int]]) -> dict[str, Any]:
        """What the file itself gives, by name: boxes (B, N, 4), scores (B, N), labels (B, N), ..."""
        feed = {"images": canvas} | ({"sizes": np.array(sizes, np.float32)} if self.masks else {})
        try:
            return dict(zip(self._outputs, self._session.run(self._outputs, feed), strict=True))
        except Exception as error:  # the runtime's errors share no other class
            raise VitesseError(f"{self.path} cannot be run on images {canvas.shape}: {error}") from error


def laid_out(picture: Image.Image, preprocess: Preprocess, limits: Limits) -> tuple[Floats, tuple[int, int]]:
    """A picture in the corner of the canvas, beside it the mean colour: (C, H, W) in 0..1, and the picture's height and
    width there."""
    sides, (high, wide) = (picture.height, picture.width), preprocess.size
    factor = min(limits.shorter / min(sides), limits.longer / max(sides), high / sides[0], wide / sides[1])
    size = max(1, int(sides[0] * factor)), max(1, int(sides[1] * factor))
    pixels = np.asarray(picture.convert("L" if preprocess.channels == 1 else "RGB"), np.float32) / np.float32(255)
    resized = _resized(pixels.reshape(picture.height, picture.width, -1), size)  # (h, w, C)
    canvas = np.broadcast_to(
        np.array(preprocess.mean, np.float32)[:, None, None], (preprocess.channels, high, wide)
    ).copy()
    canvas[:, : size[0], : size[1]] = resized.transpose(2, 0, 1)
    return canvas, size


def choose(boxes: Floats, scores: Floats, labels: Ints, *, size: tuple[int, int], limits: Limits) -> Detections:
    """Of candidates (n, 4), (n,), (n,), those that are reported."""
    likely = scores > limits.score
    boxes, scores, labels = boxes[likely], scores[likely], labels[likely]
    order = np.argsort(-scores, kind="stable")
    boxes, scores, labels = boxes[order], scores[order], labels[order]
    boxes = boxes.clip(0, np.array([size[1], size[0]] * 2, np.float32))
    kept: list[int] = []
    left = np.arange(len(scores))
    while len(left) and len(kept) < limits.most:
        first, left = left[0], left[1:]
        kept.append(int(first))
        hidden = (labels[left] == labels[first]) & (_overlap(boxes[first], boxes[left]) > limits.overlap)
        left = left[~hidden]
    return Detections(boxes=boxes[kept], scores=scores[kept], labels=labels[kept])


def pasted(found: Detections, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """The masks (n, height, width) on a picture of this size, which its boxes lie on: where it is likelier than not that the
    object is there. As torchvision pastes: a mask has a border of nothing, a pixel of its own beside the box.
    """
    whole = np.zeros((len(found.scores), *size), np.bool_)
    if found.masks is None:
        raise VitesseError("Masks are of a Mask R-CNN, but these detections have none.")
    side = found.masks.shape[-1]
    bordered = np.pad(found.masks, ((0, 0), (1, 1), (1, 1)))
    middles, halves = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2, (found.boxes[:, 2:] - found.boxes[:, :2]) / 2
    halves = halves * np.float32((side + 2) / side)
    corners = np.trunc(np.concatenate([middles - halves, middles + halves], 1)).astype(np.int64)
    for place, (left, top, right, low) in enumerate(corners.tolist()):
        high, wide = max(low - top + 1, 1), max(right - left + 1, 1)
        mask = _resized(bordered[place][..., None], (high, wide))[..., 0] > 0.5
        rows, columns = (max(top, 0), min(low + 1, size[0])), (max(left, 0), min(right + 1, size[1]))
        whole[place, rows[0] : rows[1], columns[0] : columns[1]] = mask[
            rows[0] - top : rows[1] - top, columns[0] - left : columns[1] - left
        ]
    return whole


def _overlap(one: Floats, others: Floats) -> Floats:
    """Intersection over union of a box (4,) with each of (n, 4)."""
    sides = np.minimum(one[2:], others[:, 2:]) - np.maximum(one[:2], others[:, :2])
    shared = sides.clip(0).prod(1)
    areas = (others[:, 2:] - others[:, :2]).prod(1) + (one[2:] - one[:2]).prod()
    both: Floats = shared / np.maximum(areas - shared, 1e-9)
    return both


def _resized(pixels: Floats, size: tuple[int, int]) -> Floats:
    """Bilinear, (h, w, C) to (*size, C), as torchvision's detectors resize: without smoothing before."""
    for axis, length in enumerate(size):
        old = pixels.shape[axis]
        places = ((np.arange(length, dtype=np.float32) + 0.5) * (old / length) - 0.5).clip(0)
        low = places.astype(np.int64)
        high = np.minimum(low + 1, old - 1)
        share = (places - low).astype(np.float32).reshape([-1 if axis == other else 1 for other in range(3)])
        pixels = pixels.take(low, axis) * (1 - share) + pixels.take(high, axis) * share
    return pixels
