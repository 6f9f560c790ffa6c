"""`vitesse train --task detection` as a sequence of stages: data, training, examination, export."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch

from vitesse.arch import Arch
from vitesse.data.boxed import BoxBatch, BoxedPart, coco_tool
from vitesse.data.coco import CocoPart, load_coco
from vitesse.deploy.opening import DETECTOR_FILE
from vitesse.nets import Network, build
from vitesse.runs.files import write_json
from vitesse.runs.folder import RunFolder
from vitesse.shrink.detector_file import export_detector_file, proof_pictures
from vitesse.shrink.job import Voice, Work, scaled
from vitesse.shrink.student import student_named
from vitesse.tasks.detection.detector import Detector, detector_of
from vitesse.tasks.detection.learning import find, losses
from vitesse.tasks.detection.measure import precision
from vitesse.tasks.detection.saved import FILE, load, save
from vitesse.tasks.detection.settings import DetectionSettings
from vitesse.train.loop import Progress, Task, require_optimizer

RESULT = "result.json"


def train_detector(
    settings: DetectionSettings, folder: RunFolder, *, arch: str | Arch | Network, voice: Voice
) -> dict[str, Any]:
    """Train a detector around a network: the result as plain values, also left in `result.json`.

    arch: a value, from nothing, a network with weights to start from, or the name of either, as `student_named`. Killed and
    called again, it goes on where it was. UsageError before anything long where something that it needs is not there.
    """
    require_optimizer(settings.train.optimizer)
    coco_tool("cocoeval")  # it is needed after hours: say now where it is missing
    work = DetectorWork(settings, folder, voice=voice)
    start = student_named(arch) if isinstance(arch, str) else arch
    work.do("train", lambda progress: work.train(start, progress))
    scores = work.do("exam", lambda progress: work.examine(progress))
    work.do("export", lambda progress: work.export(progress))
    return work.conclude(scores)


class DetectorWork(Work):
    """One training of a detector under way."""

    def __init__(self, settings: DetectionSettings, folder: RunFolder, *, voice: Voice) -> None:
        super().__init__(folder, voice=voice)
        self.settings = settings
        self.learn, self.exam = load_coco(settings.data)
        self.masks = settings.detector.kind == "mask_rcnn"
        if self.masks:
            self.learn.require_masks()
            self.exam.require_masks()
        for note in (*self.learn.notes, *self.exam.notes):
            voice.say(note)

    def train(self, start: Arch | Network, progress: Progress) -> dict[str, Any]:
        """The stage: leaves the trained detector."""
        settings, asked = (
            scaled(self.settings.train, effort=self.settings.effort, seed=self.settings.seed),
            self.settings,
        )
        torch.manual_seed(settings.seed)  # what starts from nothing is the same after a restart
        if not isinstance(start, Network):
            network = build(start)
            if settings.frozen_statistics:
                self.voice.say(
                    "The backbone starts from nothing, so its batch normalization gathers its own statistics."
                )
                settings = dataclasses.replace(settings, frozen_statistics=False)
        else:
            network = start
        detector = detector_of(
            network,
            asked.detector,
            classes=len(self.learn.classes),
            frozen_statistics=settings.frozen_statistics,
            drop_path=settings.drop_path,
        )
        detector.class_names = self.learn.classes
        pictures, exam = self._boxed(self.learn, network), self._boxed(self.exam, network)

        def batches(epoch: int, start: int, rank: int, world: int) -> Iterator[BoxBatch]:
            return pictures.train_batches(
                epoch=epoch, batch=settings.batch, seed=settings.seed, augment=asked.augment,
                start=start, rank=rank, world=world,
            )  # fmt: skip

        def score(network: Any) -> float:
            return precision(self.exam, find(network, exam, accelerator=self.accelerator))["mAP"] or 0.0

        task = Task(
            losses=losses,  # type: ignore[arg-type]  # of a detector
            batches=batches,
            steps_per_epoch=pictures.steps(settings.batch),
            evaluate=score,
            chance=0.0,
            measure="mAP",
        )
        kept: Any = self.watched_fit(detector, settings, task=task, stage="train", progress=progress)
        if self.main:
            save(kept, self.path(FILE), settings=asked.detector)
        return {
            "params": sum(parameter.numel() for parameter in kept.parameters()),
            "backbone_params": sum(parameter.numel() for parameter in kept.backbone.trunk.parameters()),
        }

    def examine(self, progress: Progress) -> dict[str, Any]:
        """The stage: mean average precision of the detector that was kept."""
        detector: Detector = load(self.path(FILE)).to(self.accelerator.device)
        network = detector.backbone.trunk.network
        found = find(detector, self._boxed(self.exam, network), accelerator=self.accelerator)
        return dict(precision(self.exam, found)) | {"pictures": len(self.exam)}

    def export(self, progress: Progress) -> dict[str, Any]:
        """The stage: `detector.onnx`, written only if its reader finds what torchvision's code finds."""
        if not self.main:
            return {}
        detector, asked = load(self.path(FILE)), self.settings.export
        checks = export_detector_file(
            detector,
            self.path(DETECTOR_FILE),
            size=(asked.height, asked.width) if asked.height else None,
            pictures=proof_pictures(self.exam),
            tolerance=asked.tolerance,
        )
        rows = [{"batch": one.batch, "max_difference": one.scores} for one in checks]
        write_json(self.path("gate.json"), {"tolerance": asked.tolerance, "rows": rows})
        return {"onnx_bytes": self.path(DETECTOR_FILE).stat().st_size, "detections": checks[0].detections}

    def conclude(self, scores: dict[str, Any]) -> dict[str, Any]:
        """`result.json`, for the report."""
        seconds = self.folder.seconds()
        result = {
            "asked": {"data": self.settings.data.source},
            "params": self.folder.outputs("train")["params"],
            "detection": {"detector": self.settings.detector.kind, **scores},
            "classes": list(self.learn.classes),
            "data_notes": [*self.learn.notes, *self.exam.notes],
            "seconds": sum(seconds.values()),
            "seconds_by_stage": seconds,
        }
        if self.main:
            write_json(self.path(RESULT), result)
        return result

    def _boxed(self, part: CocoPart, network: Network) -> BoxedPart:
        detector = self.settings.detector
        return BoxedPart(
            part=part,
            channels=network.arch.stem.channels,
            shorter=detector.shorter,
            longer=detector.longer,
            masks=self.masks,
            workers=self.settings.data.workers,
        )
