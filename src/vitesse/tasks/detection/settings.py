"""Everything that can be set about a training for detection; the defaults are those published with EfficientViT.

Liu et al., EfficientViT: Memory Efficient Vision Transformer with Cascaded Group Attention, CVPR 2023 (arXiv 2305.07027),
trained so on COCO, on eight devices with two pictures each.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from vitesse.data.boxed import BoxAugment
from vitesse.data.coco import CocoSettings
from vitesse.train.settings import TrainSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectorSettings:
    """What detects.

    kind: "retinanet" (boxes, one stage) or "mask_rcnn" (boxes and masks, two stages). width: channels of every level of the
    neck. shorter, longer: the side to which a picture's shorter one is brought, and what its longer one may not exceed.
    score: below it nothing is reported. overlap: of two boxes of one class that overlap more (intersection over union), the
    likelier stays. most: detections of one picture.
    """

    kind: Literal["retinanet", "mask_rcnn"] = "retinanet"
    width: int = 256
    shorter: int = 800
    longer: int = 1333
    score: float = 0.05
    overlap: float = 0.5
    most: int = 100

    def __post_init__(self) -> None:
        rules = {
            "kind": (self.kind in ("retinanet", "mask_rcnn"), '"retinanet" or "mask_rcnn"'),
            "width": (self.width >= 1, "at least 1"),
            "shorter": (self.shorter >= 1, "at least 1"),
            "longer": (self.longer >= self.shorter, "at least shorter"),
            "score": (0 <= self.score < 1, "from 0 to below 1"),
            "overlap": (0 < self.overlap <= 1, "above 0 and at most 1"),
            "most": (self.most >= 1, "at least 1"),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                raise ValueError(f"{name} must be {rule}, but got {getattr(self, name)!r}.")


def published_training() -> TrainSettings:
    """12 passes, 16 pictures a step, AdamW; the rate rises for 500 steps and falls to a tenth after 8 and 11 passes; batch
    normalization keeps the running statistics of the backbone's pretraining."""
    return TrainSettings(
        epochs=12, batch=16, lr=1e-4, start_lr=1e-7, warmup_steps=500, drops=(8 / 12, 11 / 12), weight_decay=0.05, clip=0.0,
        evaluate_every=1, frozen_statistics=True,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportedSettings:
    """The exported file of a RetinaNet: `height` and `width` of the pictures that it takes, 0 for what the detector's
    shorter and longer side ask for; `tolerance`: of scores, and of boxes as a share of the picture."""

    height: int = 0
    width: int = 0
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 0 or (self.height == 0) != (self.width == 0) or not self.tolerance > 0:
            raise ValueError(
                "height and width must both be given or both be 0, and tolerance above 0, but got "
                f"{self.height}, {self.width}, {self.tolerance}."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectionSettings:
    """From pictures with boxes to a detector. effort: multiplies the length of the training."""

    seed: int = 0
    effort: float = 1.0
    data: CocoSettings = field(default_factory=CocoSettings)
    augment: BoxAugment = field(default_factory=BoxAugment)
    detector: DetectorSettings = field(default_factory=DetectorSettings)
    train: TrainSettings = field(default_factory=published_training)
    export: ExportedSettings = field(default_factory=ExportedSettings)

    def __post_init__(self) -> None:
        if not 0 < self.effort < float("inf"):
            raise ValueError(f"effort must be a positive number, but got {self.effort}.")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be a whole number from 0 to 2**32 - 1, but got {self.seed}.")
