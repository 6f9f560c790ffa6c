"""What a detector learns in a step, and what it finds on pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vitesse.data.boxed import BoxBatch, BoxedPart, coco_tool
from vitesse.tasks.detection.detector import Detector
from vitesse.train.processes import Accelerator, gathered


@dataclass(frozen=True, slots=True)
class Found:
    """What was found on one picture of a part, at `place` in it.

    boxes: (n, 4) x1, y1, x2, y2 in its pixels. scores, labels: (n,), labels as indices into the classes. masks: n run lengths
    of COCO; None of a detector of boxes alone. All on the CPU.
    """

    place: int
    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: list[Any] | None


def losses(detector: Detector, batch: BoxBatch, step: int) -> Iterator[Tensor]:
    """The sum of the detector's own losses, as published: each with the weight 1."""
    images, targets = [], []
    for place, (high, wide) in enumerate(batch.sizes.tolist()):
        images.append(batch.images[place, :, :high, :wide].float() / 255)
        count = int(batch.counts[place])
        target = {"boxes": batch.boxes[place, :count], "labels": batch.labels[place, :count] + detector.first_label}
        if batch.masks.numel():
            target["masks"] = batch.masks[place, :count, :high, :wide].to(torch.uint8)
        targets.append(target)
    yield torch.stack(list(detector(images, targets).values())).sum()


@torch.inference_mode()
def find(detector: Detector, part: BoxedPart, *, accelerator: Accelerator) -> list[Found]:
    """What the detector finds on every picture of a part, shared by all processes; in the part's order."""
    ranks = {"rank": accelerator.process_index, "world": accelerator.num_processes}
    mine = []
    for place, pixels in part.pictures(**ranks):
        (seen,) = detector.eval()([pixels.to(accelerator.device).float() / 255])
        mine.append(
            Found(
                place,
                seen["boxes"].cpu(),
                seen["scores"].cpu(),
                seen["labels"].cpu() - detector.first_label,
                _packed(seen["masks"]) if "masks" in seen else None,
            )
        )
    return sorted(gathered(mine, accelerator), key=lambda one: one.place)


def _packed(masks: Tensor) -> list[Any]:
    """Probabilities (n, 1, h, w) as run lengths of what is above one half."""
    if not len(masks):
        return []
    above = (masks[:, 0] > 0.5).to(torch.uint8).permute(1, 2, 0).cpu().numpy()  # (h, w, n)
    runs: list[Any] = coco_tool("mask").encode(np.asfortranarray(above))
    return runs
