"""The end of a run: the winner finished with its teacher, exported and checked, timed, and examined once."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vitesse.arch import Arch, Backbone, cost, to_json
from vitesse.data.preprocess import unnormalise
from vitesse.deploy import exporting
from vitesse.deploy.gate import GateReport, Proof
from vitesse.deploy.memory import measure_memory
from vitesse.deploy.preparing import open_way
from vitesse.deploy.runtime import Runtime
from vitesse.deploy.served import served
from vitesse.deploy.ways import Way
from vitesse.errors import VitesseError
from vitesse.measure import Conditions, Latency, compare, time_interleaved, usable_cores
from vitesse.measure.agreement import linear_cka
from vitesse.nets import Network, build
from vitesse.nets.statistics import recalibrate
from vitesse.runs.files import write_json
from vitesse.saved import load_network, save_network
from vitesse.shrink.costing import formula_costs
from vitesse.shrink.job import Job
from vitesse.shrink.scoring import calibration
from vitesse.shrink.teacher import teaching_of
from vitesse.supernet import Supernet, inherit
from vitesse.tasks.classification import accuracy, plain
from vitesse.tasks.teaching import Teaching, network_of
from vitesse.train.loop import Progress

NETWORK = "model.safetensors"
ONNX = "model.onnx"
PROOF_IMAGES = 512
COMPARED = 2048  # images at which student and teacher are compared where there are no labels


def finish(
    job: Job,
    arch: Arch,
    *,
    supernet: Supernet | None,
    teacher: nn.Module | None,
    start: Network | None = None,
    progress: Progress,
) -> dict[str, Any]:
    """The stage: the network with its inherited weights, those of `start`, or from nothing, trained with the teacher."""
    settings = job.scaled(job.settings.finish, offset=3)
    torch.manual_seed(settings.seed)
    network = build(arch, drop_path=settings.drop_path)
    if supernet is not None:
        assert isinstance(arch, Backbone)
        network.load_state_dict(inherit(supernet.network, arch).state_dict())
    elif start is not None:
        network.load_state_dict(start.state_dict())
    teaching = teaching_of(job, teacher, train=settings)
    example = next(job.parts.search.batches(1)).images.to(job.accelerator.device)
    pupil = teaching.prepare(network.to(job.accelerator.device), example, seed=settings.seed)
    agreement = None if job.parts.classes else functools.partial(_agreement, job, teaching)
    trained = job.train(pupil, settings, stage="finish", losses=plain(teaching), progress=progress, agreement=agreement)
    kept = network_of(trained)
    assert isinstance(kept, Network)
    return _leave(job, kept) | ({} if agreement is None else {"agreement": agreement(kept)})


def _agreement(job: Job, teaching: Teaching, network: nn.Module) -> float:
    """How alike student and teacher see images of the search part, 0 to 1; each process looks at the same ones."""
    device, pairs, seen = job.accelerator.device, [], 0
    for batch in job.parts.search.batches(128):
        pairs.append(teaching.compare(network, batch.images.to(device)))
        seen += len(batch.images)
        if seen >= COMPARED:
            break
    first, second = (torch.cat(side) for side in zip(*pairs, strict=True))
    return linear_cka(first, second)


def cut_out(
    job: Job, arch: Backbone, *, supernet: Supernet | None, teacher: nn.Module | None, progress: Progress
) -> dict[str, Any]:
    """The stage where nothing is trained on: the winner as the supernet holds it."""
    assert supernet is not None
    network = inherit(supernet.network, arch)
    recalibrate(network, calibration(job, supernet.host))
    return _leave(job, network)


def _leave(job: Job, kept: Network) -> dict[str, Any]:
    """The finished network in the run folder; its costs."""
    kept.preprocess, kept.class_names = job.parts.preprocess, job.parts.classes
    if job.main:
        save_network(kept, job.path(NETWORK))
    return dict(formula_costs(kept.arch)) | {"params_counted": sum(p.numel() for p in kept.parameters())}


def export(job: Job, progress: Progress) -> dict[str, Any]:
    """The stage: `model.onnx`, written only if it computes what the network computes on images of the search part."""
    if not job.main:
        return {}
    network = load_network(job.path(NETWORK))
    assert network.preprocess is not None  # the finish stage wrote it
    images, labels = _raw(job)
    settings = job.settings.export
    proof = Proof(
        images=images, labels=labels, tolerance=settings.tolerance, accuracy_tolerance=settings.accuracy_tolerance
    )
    file = exporting.export(
        network,
        job.path(ONNX),
        preprocess=network.preprocess,
        classes=network.class_names,
        arch_json=to_json(network.arch),
        proof=proof,
    )
    write_json(job.path("gate.json"), _gate(file.gate))
    return {"onnx_bytes": file.bytes, "opset": file.opset}


def speed(job: Job, teacher: nn.Module | None, progress: Progress) -> dict[str, Any]:
    """The stage: student and teacher timed against each other, each in the runtime whose latency counts.

    A file slower than its budget is an error, not a footnote.
    """
    if not job.main:
        return {}
    threads, rounds = usable_cores(), job.settings.export.rounds
    image = _raw(job)[0][:1].numpy()  # (1, C, H, W)
    calls: dict[str, Callable[[], object]] = {
        "student": _opened(job, load_network(job.path(NETWORK)), job.path(ONNX)).bind(image),
    }
    with contextlib.ExitStack() as stack:
        if teacher is not None:
            calls["teacher"] = _opened(job, teacher, _teacher_file(job, teacher)).bind(image)
            stack.callback(job.path("teacher/model.onnx").unlink)
        timed = time_interleaved(calls, rounds=rounds, progress=progress)
    _require_latency(job, timed["student"])
    rows = [{"name": name, **latency.to_dict(), "verdict": _verdict(timed, name)} for name, latency in timed.items()]
    memory = measure_memory(job.path(ONNX), threads=threads).network_bytes
    conditions = Conditions.now(threads=threads).to_dict() | {"memory of serving": f"{memory / 1e6:.1f} MB"}
    write_json(job.path("speed.json"), {"conditions": conditions, "rows": rows})
    return {f"{name}_latency_ms": latency.median_ms for name, latency in timed.items()} | {"memory_bytes": memory}


def examine(job: Job, teacher: nn.Module | None, progress: Progress) -> dict[str, Any]:
    """The stage: the one time that the test part is touched, by the exported file's network and the teacher."""
    student = load_network(job.path(NETWORK)).to(job.accelerator.device)
    result = accuracy(student, job.parts.test, accelerator=job.accelerator)
    found: dict[str, Any] = {"test_accuracy": result.value, "test_interval": list(result.interval())}
    if teacher is not None:
        teacher = teacher.to(job.accelerator.device).eval()
        taught = accuracy(teacher, job.parts.test, accelerator=job.accelerator)
        found |= {"teacher_test_accuracy": taught.value, "teacher_test_interval": list(taught.interval())}
        found |= {"teacher_params": sum(parameter.numel() for parameter in teacher.parameters())}
        if isinstance(teacher, Network):
            found |= {"teacher_macs": cost(teacher.arch).macs}
    return found


def _opened(job: Job, network: nn.Module, file: Path) -> Runtime:
    """The network, or its exported file, in the runtime whose latency counts, on every core."""
    way = Way(job.settings.export.runtime)
    module = None if way.serves_files else served(network, job.parts.preprocess)
    return open_way(way, file, module, threads=usable_cores())


def _raw(job: Job) -> tuple[Tensor, Tensor]:
    """Images of the search part as the exported file takes them, in 0..1, with their labels."""
    batch = next(job.parts.search.batches(PROOF_IMAGES))
    return unnormalise(batch.images, job.parts.preprocess), batch.labels


def _teacher_file(job: Job, teacher: nn.Module) -> Path:
    images, labels = _raw(job)
    arch_json = to_json(teacher.arch) if isinstance(teacher, Network) else None
    return exporting.export(
        teacher,
        job.path("teacher/model.onnx"),
        preprocess=job.parts.preprocess,
        classes=job.parts.classes,
        arch_json=arch_json,
        # Only its time is wanted; a big network's float noise is no reason to lose the run.
        proof=Proof(images=images[:8], labels=labels[:8], tolerance=1e-2, accuracy_tolerance=1.0),
    ).path


def _require_latency(job: Job, measured: Latency) -> None:
    limit = job.settings.budget.max_latency_ms
    if limit is not None and measured.median_ms > limit:
        raise VitesseError(
            f"The result must take at most {limit:.4g} ms, but its exported file takes {measured.median_ms:.4g} ms "
            f"(p10 {measured.p10_ms:.4g}, p90 {measured.p90_ms:.4g}) when measured again. Is the device busy? Start the same "
            "command again to measure once more, or begin a run with a lower --max-latency for this goal."
        )


def _verdict(timed: dict[str, Latency], name: str) -> str:
    if name == "student":
        return "the network of this run"
    return compare(timed["student"], timed[name]).verdict


def _gate(report: GateReport) -> dict[str, Any]:
    return {
        "tolerance": report.tolerance,
        "rows": [{"batch": one.batch, "max_difference": one.difference} for one in report.batches],
        "accuracy_torch": None if report.network is None else report.network.value,
        "accuracy_onnx": None if report.file is None else report.file.value,
    }
