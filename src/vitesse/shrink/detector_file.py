"""A detector as the file that serves it, held against torchvision's own code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from vitesse.data import Preprocess, open_image
from vitesse.data.coco import CocoPart
from vitesse.deploy.detector_gate import DetectorCheck, export_checked
from vitesse.deploy.detector_onnx import MASKED, OUTPUTS, Detections, Floats, Limits
from vitesse.tasks.detection.dense import candidates, torchvision_detections
from vitesse.tasks.detection.detector import Detector, RetinaNet

PROOF_PICTURES = 8


def export_detector_file(
    detector: Detector,
    path: Path,
    *,
    size: tuple[int, int] | None,
    pictures: Sequence[Image.Image],
    tolerance: float,
) -> list[DetectorCheck]:
    """Write `detector.onnx`, which gets its name only if its reader finds on the pictures what torchvision's code finds.

    size: height and width of the pictures that the file takes; None for what the detector's shorter and longer side ask for.
    tolerance: as of `export_checked`, which raises where the file differs.
    """
    transform = detector.transform
    shorter, longer = transform.min_size[-1], transform.max_size
    height, width = size or (shorter, longer)
    exported = candidates(detector, height=height, width=width)
    reporting: Any = detector if isinstance(detector, RetinaNet) else detector.roi_heads
    preprocess = Preprocess(
        size=exported.size,
        channels=len(transform.image_mean),
        mean=tuple(transform.image_mean),
        std=tuple(transform.image_std),
        interpolation="bilinear",
        crop=1.0,
    )
    limits = Limits(
        shorter=shorter,
        longer=longer,
        score=reporting.score_thresh,
        overlap=reporting.nms_thresh,
        most=reporting.detections_per_img,
    )

    def network(canvas: Floats, sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        found = torchvision_detections(detector, torch.from_numpy(canvas), list(sizes))
        return [
            Detections(
                boxes=one["boxes"].numpy(),
                scores=one["scores"].numpy(),
                labels=one["labels"].numpy() - detector.first_label,
                masks=one["masks"][:, 0].numpy() if "masks" in one else None,
            )
            for one in found
        ]

    return export_checked(
        exported,
        path,
        preprocess=preprocess,
        classes=detector.class_names,
        limits=limits,
        outputs=OUTPUTS if isinstance(detector, RetinaNet) else MASKED,
        network=network,
        pictures=pictures,
        tolerance=tolerance,
    )


def proof_pictures(part: CocoPart) -> list[Image.Image]:
    """Some of a part, to try a file on."""
    return [open_image(part.images / one.name) for one in part.pictures[:PROOF_PICTURES]]
