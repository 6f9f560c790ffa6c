"""`vitesse distill`: one student, one teacher of any kind; its stages are those of a training."""

from __future__ import annotations

from typing import Any

from torch import nn

from vitesse.arch import to_json
from vitesse.errors import UsageError
from vitesse.runs.files import write_json, write_text
from vitesse.runs.folder import RunFolder
from vitesse.search.feasible import check_budget
from vitesse.shrink import finish
from vitesse.shrink.costing import formula_costs, formula_limits
from vitesse.shrink.job import Job, Voice
from vitesse.shrink.run import RESULT, conclude, told_of_teacher
from vitesse.shrink.searching import WINNER
from vitesse.shrink.settings import ShrinkSettings
from vitesse.shrink.student import Starting, Student
from vitesse.shrink.teacher import Teacher


def distill(
    settings: ShrinkSettings,
    folder: RunFolder,
    *,
    student: Student,
    teacher: nn.Module | None = None,
    voice: Voice,
) -> dict[str, Any]:
    """Teach `student` what the teacher of the settings, or the module `teacher`, knows; the result as plain values.

    student: as `student_named`, or a value or network of ours. Where no teacher is named and no store is, one is trained
    here; one that knows other classes is tuned first, one without classes teaches by its features. Data without labels
    (`data.labels`) end in an encoder: a network of 0 classes, and neither an export nor an exam.
    """
    job = Job(settings, folder, voice=voice)
    starting = Starting(job, student)
    source = Teacher(job, given=teacher, lead=False, encoders=True)
    if source.network is None and not settings.data.labels:
        raise UsageError(
            "Without labels no teacher can be made here. Give --teacher: a timm name, a run folder, a file."
        )
    arch = starting.arch()
    check_budget(arch, formula_costs, formula_limits(settings.budget))
    if job.main:
        write_text(job.path(WINNER), to_json(arch) + "\n")
    taught = None
    if source.network is not None or job.store is None:  # else a store stands for it
        job.do("teacher", source.train)
        taught = source.load()
    job.do("finish", lambda progress: finish.finish(
        job, arch, supernet=None, teacher=taught, start=starting.network, progress=progress))  # fmt: skip
    if job.parts.classes:
        return conclude(job, arch=arch, teacher=taught, search=None)
    return _encoder_result(job)


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
