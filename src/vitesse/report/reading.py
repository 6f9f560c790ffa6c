"""A run folder's files become a `RunSummary`: each is optional but `run.toml`, and a wrong one is named."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from vitesse.arch import Arch, Backbone, cost, from_json, largest, space_from_json
from vitesse.errors import VitesseError
from vitesse.report.fields import Fields, json_file, json_lines, parsed
from vitesse.report.reading_beliefs import read_beliefs
from vitesse.report.summary import (
    Board,
    BoardPath,
    Candidate,
    Costs,
    Data,
    Dimension,
    Estimate,
    Gate,
    GateRow,
    Origin,
    Outcome,
    Reading,
    RunSummary,
    Served,
    Serving,
    Space,
    Speed,
    Teacher,
    Timing,
)

FILES = (
    "model.safetensors",
    "model.onnx",
    "detector.safetensors",
    "detector.onnx",
    "arch.json",
    "run.toml",
    "metrics.jsonl",
    "study.db",
)


def read_summary(folder: Path | str) -> RunSummary:
    """Read a run folder; VitesseError where `run.toml` is missing or a file does not say what it should."""
    path = Path(folder)
    result = json_file(path, "result.json")
    arch = _arch(path / "arch.json")
    return RunSummary(
        name=path.resolve().name,
        folder=str(path),
        origin=_origin(path / "run.toml"),
        arch=arch,
        outcome=Outcome(
            costs=_costs(result, arch),
            accuracy=result.number("test_accuracy"),
            interval=result.pair("test_interval"),
        ),
        teacher=_teacher(path, result),
        budget=result.part("asked").part("budget").numbers(),
        budget_met=result.get("budget_met", bool),
        data=_data(result),
        search=result.part("search").values,
        multiplex=result.part("multiplex").values,
        detection=result.part("detection").values,
        spaces=tuple(map(_space, json_file(path, "space_evolution.json").parts("spaces"))),
        board=_board(json_file(path, "board.json")),
        beliefs=read_beliefs(json_file(path, "supernet/beliefs.json")),
        candidates=tuple(_candidate(part) for part in json_lines(path / "candidates.jsonl")),
        curves=_curves(path / "metrics.jsonl"),
        speed=_speed(json_file(path, "speed.json")),
        gate=_gate(json_file(path, "gate.json")),
        serving=_serving(json_file(path, "serving.json")),
        seconds=result.number("seconds"),
        seconds_by_stage=result.part("seconds_by_stage").numbers(),
        files={name: (path / name).stat().st_size for name in FILES if (path / name).is_file()},
    )


def _arch(path: Path) -> Arch | None:
    if not path.is_file():
        return None
    # A supernet's folder holds a space; what lies in it is the largest network's parameters.
    return largest(parsed(path.read_text(encoding="utf-8"), str(path), from_json))


def _origin(path: Path) -> Origin:
    if not path.is_file():
        raise VitesseError(f"A run folder holds run.toml, but {path} does not exist. Name the folder of a run.")
    text = path.read_text(encoding="utf-8")
    tables = Fields(where=str(path), values=parsed(text, str(path), tomllib.loads))
    return Origin(
        run=tables.part("run").values,
        versions=tables.part("versions").values,
        device=tables.part("device").values,
        settings=text,
    )


def _costs(part: Fields, arch: Arch | None, *, prefix: str = "") -> Costs:
    """What the file says; what it does not say and the architecture tells, by formula."""
    told = cost(arch) if arch is not None else None

    def either(key: str, formula: float | None) -> float | None:
        said = part.number(prefix + key)
        return said if said is not None else formula

    return Costs(
        params=either("params", told.params if told else None),
        macs=either("macs", told.macs if told else None),
        memory_bytes=either("memory_bytes", told.memory_bytes if told else None),
        latency_ms=part.number(f"{prefix}latency_ms"),
    )


def _teacher(folder: Path, result: Fields) -> Teacher | None:
    arch = _arch(folder / "teacher" / "arch.json")
    outcome = Outcome(
        costs=_costs(result, arch, prefix="teacher_"),
        accuracy=result.number("teacher_test_accuracy"),
        interval=result.pair("teacher_test_interval"),
    )
    name = result.text("teacher_name")
    if arch is None and name is None and outcome == Outcome(costs=Costs()):
        return None
    return Teacher(
        arch=arch,
        outcome=outcome,
        name=name,
        licence=result.text("teacher_licence"),
        licence_note=result.text("teacher_licence_note"),
    )


def _data(result: Fields) -> Data:
    return Data(
        source=result.part("asked").text("data"),
        classes=result.texts("classes"),
        notes=result.texts("data_notes"),
        fingerprint=result.text("data_fingerprint"),
    )


def _space(part: Fields) -> Space:
    error = part.part("error")
    return Space(
        networks=int(error.need("networks")),
        size=part.text("size") or "",
        expected=(error.need("expected"), error.need("expected_error")),
        top=(error.need("top"), error.need("top_error")),
        both=(error.need("both"), error.need("both_error")),
        supernet_epochs=int(part.need("supernet_epochs")),
        dimensions=tuple(map(_dimension, part.parts("dimensions"))),
    )


def _dimension(part: Fields) -> Dimension:
    return Dimension(
        name=part.text("name") or "",
        options=tuple(part.get("options", list) or ()),
        step=part.need("step"),
        choices=tuple(part.get("choices", list) or ()),
        slope=_estimate(part.part("slope")) if part.get("slope", dict) else None,
        importance=_estimate(part.part("importance")),
        decided=bool(part.get("decided", bool)),
        following=tuple(part.get("next", list) or ()),
        held=part.text("held"),
    )


def _estimate(part: Fields) -> Estimate:
    return Estimate(value=part.need("value"), low=part.need("low"), high=part.need("high"))


def _board(part: Fields) -> Board:
    return Board(paths=tuple(map(_board_path, part.parts("entries"))), gone=int(part.number("gone") or 0))


def _board_path(part: Fields) -> BoardPath:
    return BoardPath(
        arch=_arch_in(part),
        accuracy=part.need("accuracy"),
        macs=part.need("cost"),
        step=int(part.need("step")),
        taught=int(part.need("taught")),
    )


def _arch_in(part: Fields) -> Backbone:
    return parsed(json.dumps(part.get("arch", dict)), f"{part.where}, `arch`", space_from_json)


def _candidate(part: Fields) -> Candidate:
    return Candidate(
        arch=_arch_in(part),
        score=part.need("score"),
        costs=_costs(part.part("costs"), None),
        origin=part.text("origin") or "",
        generation=int(part.number("generation") or 0),
    )


def _curves(path: Path) -> dict[str, tuple[Reading, ...]]:
    """The readings of each stage in order of steps; what is told twice of a step (a resumed run) counts as told last."""
    stages: dict[str, dict[int, Reading]] = {}
    for part in json_lines(path):
        step = int(part.need("step"))
        readings = stages.setdefault(part.text("stage") or "train", {})
        before = readings.get(step, Reading(step=step, epoch=None, loss=None, lr=None, accuracy=None))
        told: dict[str, Any] = {
            "epoch": part.get("epoch", int),
            **{key: _finite(part.number(key)) for key in ("loss", "lr", "accuracy")},
        }
        if (precision := part.number("mAP")) is not None:
            told |= {"accuracy": _finite(precision), "measure": "mAP"}
        readings[step] = replace(before, **{key: value for key, value in told.items() if value is not None})
    return {stage: tuple(readings[step] for step in sorted(readings)) for stage, readings in stages.items()}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _speed(part: Fields) -> Speed | None:
    rows = tuple(_timing(row, name=row.text("name"), verdict=row.text("verdict")) for row in part.parts("rows"))
    return Speed(conditions=part.part("conditions").values, rows=rows) if rows else None


def _timing(row: Fields, *, name: str | None, verdict: str | None) -> Timing:
    return Timing(
        name=name or "",
        median_ms=row.need("median_ms"),
        p10_ms=row.number("p10_ms"),
        p90_ms=row.number("p90_ms"),
        spread=row.number("spread"),
        verdict=verdict or "",
    )


def _gate(part: Fields) -> Gate | None:
    if not part.values:
        return None
    return Gate(
        tolerance=part.need("tolerance"),
        rows=tuple(
            GateRow(batch=int(row.need("batch")), max_difference=row.need("max_difference"))
            for row in part.parts("rows")
        ),
        accuracy_torch=part.number("accuracy_torch"),
        accuracy_onnx=part.number("accuracy_onnx"),
    )


def _serving(part: Fields) -> Serving | None:
    if not part.values:
        return None
    fastest = [(one.text("way"), one.need("batch"), one.need("threads")) for one in part.parts("fastest")]
    return Serving(
        rows=tuple(row for tried in part.parts("tried") for row in _served(tried, fastest)),
        reference=part.text("reference") or "",
        tolerance=part.number("tolerance"),
        conditions=part.part("conditions").values,
    )


def _served(tried: Fields, fastest: list[tuple[str | None, float, float]]) -> Iterator[Served]:
    """A row for each batch size and number of threads; one for a way that could not be run."""
    way = f"{tried.text('runtime')} {tried.text('precision')}"
    fidelity = tried.part("fidelity")
    row = Served(
        way=way,
        bytes=tried.get("bytes", int),
        accuracy=fidelity.number("accuracy"),
        difference=fidelity.number("difference"),
        refused=tried.text("refused") or "",
        note=tried.text("note") or "",
    )
    for time in tried.parts("times"):
        batch, threads = int(time.need("batch")), int(time.need("threads"))
        timing = _timing(time, name=way, verdict=time.text("verdict"))
        yield replace(row, batch=batch, threads=threads, timing=timing, fastest=(way, batch, threads) in fastest)
    if not tried.values.get("times"):
        yield row
