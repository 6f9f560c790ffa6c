"""`vitesse train`: one network, no search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from vitesse.cli.options import RunOptions
from vitesse.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Train(RunOptions):
    """Train one network, with a teacher or without; export, check and time it. Or put it into a detector, and train that.

    Examples:
      vitesse train --arch deit_tiny_patch16_224 --data photos/ --out runs/deit
      vitesse train --arch runs/photos/arch.json --teacher runs/photos/teacher/model.safetensors --out runs/again
      vitesse train --task detection --model tiny_vit_5m_224 --detector retinanet --data boxes/ --out runs/det
      vitesse train --task detection --model runs/photos --data boxes/ --set detector.shorter=320 --set detector.longer=512 \\
        --out runs/small

    For detection, --data is a folder with annotations.json as COCO has it and images/, with train/ and val/ of that kind, or
    COCO itself. Without further settings it is trained as published with EfficientViT. It needs pycocotools:
    python -m pip install 'vitesse-ml[detection]'.
    """

    arch: Annotated[str, tyro.conf.arg(aliases=("--model",))]
    """A model of `vitesse models` or a JSON file of an architecture, from nothing; or a run folder, a file of weights or a
    timm name, whose weights are where it starts."""
    task: Literal["classification", "detection"] = "classification"
    """What is learned: the classes of images, or where objects are on them."""
    detector: Literal["retinanet", "mask_rcnn"] | None = None
    """For detection: boxes alone (retinanet, the default), or boxes and masks (mask_rcnn)."""
    epochs: int | None = None
    """Passes over the images."""

    def run(self) -> None:
        """Do it."""
        if self.task == "detection":
            return self._detect()
        if self.detector is not None:
            raise UsageError("--detector is for --task detection. Add that, or leave it out.")
        from vitesse.cli.running import run_verb
        from vitesse.shrink.run import train

        return run_verb(self, work=train, flags={"finish.epochs": self.epochs}, arguments={"arch": self.arch})

    def _detect(self) -> None:
        if self.teacher is not None or self.recipe is not None:
            raise UsageError(
                "A detector has no --teacher, and its defaults are the published recipe. Leave --teacher and --recipe out."
            )
        from vitesse.cli.running import perform
        from vitesse.runs.settings import load_settings
        from vitesse.shrink.detecting import train_detector
        from vitesse.tasks.detection import DetectionSettings

        flags = {
            "data.source": self.data,
            "detector.kind": self.detector,
            "train.epochs": self.epochs,
            "effort": self.effort,
            "seed": self.seed,
        }
        settings = load_settings(DetectionSettings, file=self.settings, sets=self.set, flags=flags)
        perform(self, settings, work=train_detector, arguments={"arch": self.arch})
