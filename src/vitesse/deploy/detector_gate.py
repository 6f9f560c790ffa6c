"""The gate of an exported detector: on real pictures its reader must find what the network's own code finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from vitesse.data import Preprocess
from vitesse.deploy.detector_onnx import OUTPUTS, Detections, Floats, Limits, OnnxDetector, export_detector, laid_out
from vitesse.errors import VitesseError
from vitesse.runs.files import atomic_path

BATCHES = (1, 3)

# What is found on canvases (B, C, H, W) in 0..1 that show pictures of these heights and widths; boxes on the canvas.
Detect = Callable[[Floats, Sequence[tuple[int, int]]], Sequence[Detections]]


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectorCheck:
    """One batch size.

    scores: the largest difference of a candidate's score, in the order of scores; of a Mask R-CNN those of the first stage.
    detections: how many the network reports; unmatched: how many of them have no like among those of the file's reader, or the
    other way round.
    """

    batch: int
    scores: float
    detections: int
    unmatched: int

    def passed(self, tolerance: float) -> bool:
        """A detection at a limit of score or overlap may come or go: one in a hundred, no more."""
        return self.scores <= tolerance and self.unmatched <= 0.01 * self.detections


def export_checked(
    candidates: nn.Module,
    path: Path | str,
    *,
    preprocess: Preprocess,
    classes: Sequence[str],
    limits: Limits,
    outputs: Sequence[str] = OUTPUTS,
    network: Detect,
    pictures: Sequence[Image.Image],
    tolerance: float,
) -> list[DetectorCheck]:
    """Write the file, which gets its name only where, at batches of 1 and of 3, its candidates have the scores of
    `candidates` and its reader reports what `network` does.

    outputs: as of `export_detector`. tolerance: of scores and masks, and of the corners of boxes as a share of the canvas.
    VitesseError where the file differs by more.
    """
    laid = [laid_out(picture, preprocess, limits) for picture in pictures]
    with atomic_path(path) as draft:
        export_detector(candidates, draft, preprocess=preprocess, classes=classes, limits=limits, outputs=outputs)
        file = OnnxDetector(draft)
        checks = [_check(file, candidates, network, laid, batch=batch, tolerance=tolerance) for batch in BATCHES]
        if not all(one.passed(tolerance) for one in checks):
            lines = "".join(
                f"\n  batch {one.batch}: scores differ by up to {one.scores:.2e}, and {one.unmatched} of "
                f"{one.detections} detections have no like"
                for one in checks
            )
            raise VitesseError(
                f"An exported detector must find what the network finds, but {path} would not; it was not written. Allowed is "
                f"a difference of {tolerance:.2e}.{lines}"
            )
    return checks


def _check(
    file: OnnxDetector,
    candidates: nn.Module,
    network: Detect,
    laid: Sequence[tuple[Floats, tuple[int, int]]],
    *,
    batch: int,
    tolerance: float,
) -> DetectorCheck:
    largest, total, unmatched = 0.0, 0, 0
    for start in range(0, len(laid), batch):
        group = [laid[(start + place) % len(laid)] for place in range(batch)]  # filled up from the front
        canvas, sizes = np.stack([one for one, _ in group]), [size for _, size in group]
        with torch.inference_mode():
            shown = (torch.tensor(sizes, dtype=torch.float32),) if file.masks else ()
            scores = candidates(torch.from_numpy(canvas), *shown)[-1 if file.masks else 1].numpy()
        given = file.candidates(canvas, sizes)["objectness" if file.masks else "scores"]
        largest = max(largest, float(np.abs(given - scores).max()))
        for found, wanted in zip(file.chosen(canvas, sizes), network(canvas, sizes), strict=True):
            total += len(wanted.scores)
            unmatched += unlike(found, wanted, span=max(canvas.shape[-2:]), tolerance=tolerance)
    return DetectorCheck(batch=batch, scores=largest, detections=total, unmatched=unmatched)


def unlike(found: Detections, wanted: Detections, *, span: int, tolerance: float) -> int:
    """How many detections of one side have no like on the other."""
    if not len(found.scores) or not len(wanted.scores):
        return max(len(found.scores), len(wanted.scores))
    corners = np.abs(wanted.boxes[:, None] - found.boxes[None]).max(-1) / span  # (wanted, found)
    apart = np.maximum(corners, np.abs(wanted.scores[:, None] - found.scores[None]))
    if wanted.masks is not None and found.masks is not None:
        apart = np.maximum(apart, np.abs(wanted.masks[:, None] - found.masks[None]).max((-2, -1)))
    alike = (apart <= tolerance) & (wanted.labels[:, None] == found.labels[None])
    return max(int((~alike.any(1)).sum()), int((~alike.any(0)).sum()))
