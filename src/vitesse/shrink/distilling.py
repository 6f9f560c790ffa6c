"""`vitesse distill`: one student, one teacher of any kind; its stages are those of a training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vitesse.arch import Backbone, to_json
from vitesse.distill.foreign import is_timm_name
from vitesse.errors import UsageError
from vitesse.nets import Network
from vitesse.runs.files import write_json, write_text
from vitesse.runs.folder import RunFolder
from vitesse.saved import load_network
from vitesse.search.feasible import check_budget
from vitesse.shrink import finish
from vitesse.shrink.costing import Costing, formula_costs
from vitesse.shrink.design import fitted
from vitesse.shrink.job import Job, Voice
from vitesse.shrink.run import RESULT, conclude, told_of_teacher
from vitesse.shrink.searching import WINNER
from vitesse.shrink.settings import ShrinkSettings
from vitesse.shrink.teacher import Teacher
from vitesse.zoo import arch_named, from_timm
from vitesse.zoo.published import MODELS


def distill(
    settings: ShrinkSettings,
    folder: RunFolder,
    *,
    student: str | Backbone | Network,
    teacher: nn.Module | None = None,
    voice: Voice,
) -> dict[str, Any]:
    """Teach `student` what the teacher of the settings, or the module `teacher`, knows; the result as plain values.

    student: as `student_named`, or a value or network of ours. A teacher that knows other classes is tuned first, one
    without classes teaches by its features. Data without labels (`data.labels`) end in an encoder: a network of 0
    classes, and neither an export nor an exam.
    """
    if teacher is None and not (settings.teacher.model or settings.teacher.store):
        raise UsageError(
            "A student needs a teacher, but none is named. Give --teacher (a timm name, a run folder, a file) or --store."
        )
    job = Job(settings, folder, voice=voice)
    found = student_named(student) if isinstance(student, str) else student
    start = found if isinstance(found, Network) else None
    if start is not None and start.preprocess is not None and job.store is None:
        job.preprocess = start.preprocess
    source = Teacher(job, given=teacher, lead=False, encoders=True)
    arch = _fitted(job, found)
    check_budget(arch, formula_costs, Costing(job, arch).formula_limits())
    if job.main:
        write_text(job.path(WINNER), to_json(arch) + "\n")
    taught = None
    if source.network is not None:  # else a store stands for it
        job.do("teacher", source.train)
        taught = source.load()
    job.do("finish", lambda progress: finish.finish(
        job, arch, supernet=None, teacher=taught, start=start, progress=progress))  # fmt: skip
    if job.parts.classes:
        return conclude(job, arch=arch, teacher=taught, search=None)
    return _encoder_result(job)


def student_named(name: str) -> Backbone | Network:
    """A student by name: a run folder or a file of weights, a JSON file of an architecture, a published model (from
    nothing), or a plain ViT of timm with its weights.

    A name that both know is the published model; a tag asks for timm's weights (deit_tiny_patch16_224.fb_in1k).
    """
    path = Path(name)
    if path.is_dir() or (path.is_file() and path.suffix != ".json"):
        return load_network(path)
    if path.is_file() or name in {model.name for model in MODELS} or not is_timm_name(name):
        return arch_named(name)
    return from_timm(name)


def _fitted(job: Job, student: Backbone | Network) -> Backbone:
    """The student's value for these images and classes; a network gets a new classifier where it names other classes."""
    parts = job.parts
    if isinstance(student, Backbone):
        return fitted(student, parts.preprocess, classes=len(parts.classes))
    if student.class_names != parts.classes or not parts.classes:
        torch.manual_seed(job.settings.seed)  # the new classifier is the same after a restart
        student.reset_classifier(len(parts.classes))
    # Prepared as its own weights know it, or, where they do not say, for images of its own size.
    stem = student.arch.stem
    if (stem.image, stem.channels) != (parts.preprocess.size, parts.preprocess.channels):
        raise UsageError(
            f"The student sees images of {stem.image} pixels and {stem.channels} channels, but the data have "
            f"{parts.preprocess.size} and {parts.preprocess.channels}. Set data.size and data.channels so."
        )
    return replace(student.arch, head=replace(student.arch.head, classes=len(parts.classes)))


def _encoder_result(job: Job) -> dict[str, Any]:
    """What a run without classes leaves: the encoder, its costs, and how far it sees what its teacher sees."""
    done, told, seconds = job.folder.outputs("finish"), told_of_teacher(job), job.folder.seconds()
    result = {
        "asked": {"data": job.settings.data.source, "budget": {}},
        "params": done["params_counted"],
        "macs": done["macs"],
        "memory_bytes": done["memory_bytes"],
        "agreement": done["agreement"],
        "teacher_name": told.get("model") or None,
        "teacher_licence": told.get("licence"),
        "teacher_licence_note": told.get("licence_note"),
        "classes": [],
        "data_notes": list(job.parts.notes),
        "data_fingerprint": job.parts.fingerprint,
        "seconds": sum(seconds.values()),
        "seconds_by_stage": seconds,
    }
    if job.main:
        write_json(job.path(RESULT), result)
    return result
