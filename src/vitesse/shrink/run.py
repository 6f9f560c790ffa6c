"""The main job as a sequence of stages: each leaves a file that says that it is done, and starting again goes on there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from vitesse.arch import Arch, Backbone, CellSpace, from_json, to_json
from vitesse.distill.huggingface import HubModel
from vitesse.distill.view import Viewing
from vitesse.errors import UsageError
from vitesse.nets import NetworkOfBlocks
from vitesse.runs.files import write_json, write_text
from vitesse.runs.folder import RunFolder
from vitesse.saved import load_network
from vitesse.search.feasible import check_budget
from vitesse.shrink import cells, evolving, finish, multiplexing, searching, supernet
from vitesse.shrink.costing import Costing, formula_costs, formula_limits
from vitesse.shrink.job import Job, Voice
from vitesse.shrink.serving import serving
from vitesse.shrink.settings import ShrinkSettings
from vitesse.shrink.student import Starting, Student
from vitesse.shrink.teacher import Teacher, classifies

RESULT = "result.json"


def shrink(settings: ShrinkSettings, folder: RunFolder, *, voice: Voice) -> dict[str, Any]:
    """From images and a budget to a small network: the result as plain values, also left in `result.json`.

    Raises UsageError before anything long where nothing in the space can meet the budget, VitesseError where a stage
    fails; what was done until then stays, and the same call goes on from there.
    """
    if not settings.budget.limits():
        raise UsageError(
            "A network is made small for a budget, but none was given. "
            "Name one or more of --max-params, --max-macs, --max-latency and --max-memory."
        )
    job = Job(settings, folder, voice=voice)
    teacher = Teacher(job)
    # A store may stand for the teacher; then there is no network to make a space around.
    absent = job.store is not None and not settings.teacher.model
    space = supernet.space_of(job, None if absent else teacher.arch)
    if isinstance(space, CellSpace):
        return _shrink_to_cells(job, space, None if absent else teacher)
    costing = _priced(job, space)
    taught = None if absent else _ready(job, teacher)
    if settings.evolve.space:
        space, costing = evolving.evolve_space(job, space, costing=costing, priced=_priced, teacher=taught)
    else:
        job.do("supernet", lambda progress: supernet.train_supernet(
            job, space, costing=costing, teacher=taught, progress=progress))  # fmt: skip
    trained = supernet.load_supernet(job.path(supernet.NETWORK), space)
    found = job.do("search", lambda progress: searching.run_search(
        job, trained, source=job.folder.path, costing=costing, progress=progress))  # fmt: skip
    arch = searching.winner_arch(job)
    job.do("finish", lambda progress: finish.finish(job, arch, supernet=trained, teacher=taught, progress=progress))
    return conclude(job, arch=arch, teacher=taught, search=found)


def train(settings: ShrinkSettings, folder: RunFolder, *, arch: Student, voice: Voice) -> dict[str, Any]:
    """Train one network, with a teacher where one is set; ends like `shrink`.

    arch: a value, from nothing, a network with weights to start from, or the name of either, as `student_named`.
    """
    job = Job(settings, folder, voice=voice)
    starting = Starting(job, arch)
    taught = _named_teacher(job)
    fitting = starting.arch()
    check_budget(fitting, formula_costs, formula_limits(settings.budget))
    if job.main:
        write_text(job.path(searching.WINNER), to_json(fitting) + "\n")
    job.do("finish", lambda progress: finish.finish(
        job, fitting, supernet=None, teacher=taught, start=starting.network, progress=progress))  # fmt: skip
    return conclude(job, arch=fitting, teacher=taught, search=None)


def multiplex(settings: ShrinkSettings, folder: RunFolder, *, voice: Voice) -> dict[str, Any]:
    """Make the blocks of the teacher share weights, and distil the result from the teacher; ends like `shrink`."""
    job = Job(settings, folder, voice=voice)
    taught = _named_teacher(job)
    if not isinstance(taught, NetworkOfBlocks):
        raise UsageError(
            f"A network whose blocks are to share weights must be a plain ViT, but {settings.teacher.model or 'none'} is "
            "not. Name a run folder, a file of weights, or a timm vit_* or deit_*."
        )
    arch = multiplexing.multiplexed(taught.arch, settings.multiplex)
    if job.main:
        write_text(job.path(searching.WINNER), to_json(arch) + "\n")
    job.do("multiplex", lambda progress: multiplexing.begin(job, taught, arch, progress=progress))
    start = load_network(job.path(multiplexing.START))
    job.do("finish", lambda progress: finish.finish(
        job, arch, supernet=None, start=start, teacher=taught, progress=progress))  # fmt: skip
    return conclude(job, arch=arch, teacher=taught, search=None)


def train_supernet(settings: ShrinkSettings, folder: RunFolder, *, voice: Voice) -> dict[str, Any]:
    """Train the supernet of the space that is set; what it leaves is for `search`."""
    job = Job(settings, folder, voice=voice)
    taught = _named_teacher(job)
    space = supernet.space_of(job, taught.arch if isinstance(taught, NetworkOfBlocks) else None)
    if isinstance(space, CellSpace):
        return job.do("supernet", lambda progress: supernet.train_cells(job, space, teacher=taught, progress=progress))
    costing = _priced(job, space)
    return job.do("supernet", lambda progress: supernet.train_supernet(
        job, space, costing=costing, teacher=taught, progress=progress))  # fmt: skip


def search_space(settings: ShrinkSettings, folder: RunFolder, *, voice: Voice) -> dict[str, Any]:
    """Move the space that is set to where the better networks within the budget are; leaves its supernet for `search`."""
    if not settings.budget.limits():
        raise UsageError(
            "A space evolves within a budget, because without one more is always better. "
            "Name one or more of --max-params, --max-macs, --max-latency and --max-memory."
        )
    job = Job(settings, folder, voice=voice)
    taught = _named_teacher(job)
    space = supernet.space_of_blocks(job, taught.arch if isinstance(taught, NetworkOfBlocks) else None)
    evolving.evolve_space(job, space, costing=_priced(job, space), priced=_priced, teacher=taught)
    return job.folder.outputs("supernet")


def search_supernet(
    settings: ShrinkSettings, folder: RunFolder, *, source: Path, finishing: bool, voice: Voice
) -> dict[str, Any]:
    """Search a trained supernet (`source`: the folder of its run) within the budget, and cut the winner out.

    `finishing` trains the winner on, with the teacher where one is set; else it keeps its inherited weights.
    """
    job = Job(settings, folder, voice=voice)
    job.preprocess = load_network(source / supernet.NETWORK).preprocess
    taught = _named_teacher(job)
    space = supernet.trained_space(source)
    if isinstance(space, CellSpace):
        if not finishing:
            raise UsageError("Found cells make a network of other sizes, which has to be trained: give --finish.")
        space = cells.fitted_cells(space, job.parts.preprocess, classes=len(job.parts.classes))
        cells.require_layout(job, space)
        return _conclude_cells(job, space, source=source, teacher=taught)
    costing = _priced(job, space)
    trained = supernet.load_supernet(source / supernet.NETWORK, space)
    if trained.network.class_names != job.parts.classes:
        raise UsageError(f"The supernet in {source} names other classes than {settings.data.source}. Use its own data.")
    found = job.do("search", lambda progress: searching.run_search(
        job, trained, source=source, costing=costing, progress=progress))  # fmt: skip
    arch = searching.winner_arch(job)
    last = finish.finish if finishing else finish.cut_out
    job.do("finish", lambda progress: last(job, arch, supernet=trained, teacher=taught, progress=progress))
    return conclude(job, arch=arch, teacher=taught, search=found)


def _shrink_to_cells(job: Job, space: CellSpace, teacher: Teacher | None) -> dict[str, Any]:
    """The same where cells are searched for."""
    cells.require_layout(job, space)
    taught = None if teacher is None else _ready(job, teacher)
    job.do("supernet", lambda progress: supernet.train_cells(job, space, teacher=taught, progress=progress))
    return _conclude_cells(job, space, source=job.folder.path, teacher=taught)


def _conclude_cells(job: Job, space: CellSpace, *, source: Path, teacher: nn.Module | None) -> dict[str, Any]:
    """From the cells that the run `source` found to the network that the budget has room for, trained from nothing."""
    found = job.do("search", lambda progress: cells.lay_out(job, space, source=source, progress=progress))
    arch = from_json(job.path(searching.WINNER).read_text(encoding="utf-8"))
    job.do("finish", lambda progress: finish.finish(job, arch, supernet=None, teacher=teacher, progress=progress))
    return conclude(job, arch=arch, teacher=teacher, search=found)


def _named_teacher(job: Job) -> nn.Module | None:
    """The teacher that is set, ready to teach; None where none is."""
    if not job.settings.teacher.model:
        return None
    return _ready(job, Teacher(job))


def _ready(job: Job, teacher: Teacher) -> nn.Module:
    """The teacher after its stage."""
    job.do("teacher", teacher.train)
    return teacher.load()


def conclude(job: Job, *, arch: Arch, teacher: Any, search: dict[str, Any] | None) -> dict[str, Any]:
    """Export, time and examine a finished network; `result.json` for the report.

    An encoder cannot be examined beside it; a teacher with a view of its own is not exported to be timed, nor one that is not
    to be.
    """
    teacher = teacher if teacher is not None and classifies(job, teacher) else None
    served = None if isinstance(teacher, (Viewing, HubModel)) or not job.settings.export.time_teacher else teacher
    job.do("export", lambda progress: finish.export(job, progress))
    timed = job.do("speed", lambda progress: finish.speed(job, served, progress))
    if job.settings.export.precisions or job.settings.export.runtimes:
        job.do("serving", lambda progress: serving(job, progress))
    examined = job.do("exam", lambda progress: finish.examine(job, teacher, progress))
    price = job.folder.outputs("finish")
    seconds = job.folder.seconds()
    budget = job.settings.budget
    told = told_of_teacher(job)
    result = {
        "asked": {
            "data": job.settings.data.source,
            "budget": {f"max_{name}": limit for name, limit in budget.limits().items()},
        },
        "params": price["params_counted"],
        "macs": price["macs"],
        "memory_bytes": price["memory_bytes"],
        # What a process that serves the file takes for it, the runtime's own buffers included; measured, not by formula.
        "serving_memory_bytes": timed.get("memory_bytes"),
        "latency_ms": timed.get("student_latency_ms"),
        "teacher_latency_ms": timed.get("teacher_latency_ms"),
        **examined,
        "teacher_name": told.get("model") or None,
        "teacher_licence": told.get("licence"),
        "teacher_licence_note": told.get("licence_note"),
        "classes": list(job.parts.classes),
        "data_notes": list(job.parts.notes),
        "data_fingerprint": job.parts.fingerprint,
        "seconds": sum(seconds.values()),
        "seconds_by_stage": seconds,
        "budget_met": True,  # whatever misses it was an error before
        "search": search or {},
        "multiplex": job.folder.outputs("multiplex") if job.folder.done("multiplex") else {},
    }
    if job.main:
        write_json(job.path(RESULT), result)
    return result


def told_of_teacher(job: Job) -> dict[str, Any]:
    """What is known of who taught: from its stage, or from the store that stood for it."""
    if job.folder.done("teacher"):
        return job.folder.outputs("teacher")
    return {} if job.store is None else job.store.teacher


def _priced(job: Job, space: Backbone) -> Costing:
    """The costs of candidates; refuses at once a budget that nothing in the space can meet."""
    costing = Costing(job, space)
    check_budget(space, costing, costing.formula_limits())
    if "latency_ms" in costing.limits and not job.folder.done("search"):
        with job.voice.stage("latency") as progress:
            least = costing.measure_smallest(progress)
            check_budget(space, lambda arch: {"latency_ms": least}, {"latency_ms": costing.limits["latency_ms"]})
            costing.fit(progress)
    return costing
