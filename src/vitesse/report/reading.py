"""A run folder's files become a `RunSummary`: each is optional but `run.toml`, and a wrong one is named."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from vitesse.arch import Backbone, cost, from_json, largest
from vitesse.errors import VitesseError
from vitesse.report.summary import (
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
from vitesse.runs.files import read_json

T = TypeVar("T")
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
    result = _json(path, "result.json")
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
        spaces=tuple(map(_space, _json(path, "space_evolution.json").parts("spaces"))),
        candidates=tuple(_candidate(part) for part in _lines(path / "candidates.jsonl")),
        curves=_curves(path / "metrics.jsonl"),
        speed=_speed(_json(path, "speed.json")),
        gate=_gate(_json(path, "gate.json")),
        serving=_serving(_json(path, "serving.json")),
        seconds=result.number("seconds"),
        seconds_by_stage=result.part("seconds_by_stage").numbers(),
        files={name: (path / name).stat().st_size for name in FILES if (path / name).is_file()},
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """One JSON object and where it stands, so that a wrong value can be named."""

    where: str
    values: Mapping[str, object]

    def get(self, key: str, kind: type[T]) -> T | None:
        """The value, None where it is missing or null; VitesseError where it is of another kind."""
        value = self.values.get(key)
        if value is None or (isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)):
            return value
        raise self.wrong(key, kind.__name__)

    def number(self, key: str) -> float | None:
        whole = self.values.get(key)
        return whole if isinstance(whole, int) and not isinstance(whole, bool) else self.get(key, float)

    def need(self, key: str) -> float:
        value = self.number(key)
        if value is None:
            raise self.wrong(key, "number")
        return value

    def text(self, key: str) -> str | None:
        return self.get(key, str)

    def texts(self, key: str) -> tuple[str, ...]:
        return tuple(str(item) for item in self.get(key, list) or ())

    def pair(self, key: str) -> tuple[float, float] | None:
        match self.get(key, list):
            case None:
                return None
            case [int() | float() as low, int() | float() as high]:
                return float(low), float(high)
        raise self.wrong(key, "list of two numbers")

    def part(self, key: str) -> _Part:
        return _Part(where=f"{self.where}, `{key}`", values=self.get(key, dict) or {})

    def parts(self, key: str) -> Iterator[_Part]:
        for place, item in enumerate(self.get(key, list) or ()):
            yield _object(item, f"{self.where}, `{key}`, entry {place + 1}")

    def numbers(self) -> dict[str, float]:
        return {key: value for key in self.values if (value := self.number(key)) is not None}

    def wrong(self, key: str, kind: str) -> VitesseError:
        return VitesseError(f"{self.where}: `{key}` must be a {kind}, but is {self.values.get(key)!r}.")


def _object(value: object, where: str) -> _Part:
    if not isinstance(value, dict):
        raise VitesseError(f"{where} must be a JSON object, but is a {type(value).__name__}.")
    return _Part(where=where, values=value)


def _json(folder: Path, name: str) -> _Part:
    path = folder / name
    return _object(read_json(path) if path.is_file() else {}, str(path))


def _lines(path: Path) -> Iterator[_Part]:
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8").split("\n")
    # What stands behind the last line break is a line that a killed run did not finish: it will be written again.
    for place, line in enumerate(lines[:-1], start=1):
        if line.strip():
            yield _object(_parsed(line, f"{path}, line {place}", json.loads), f"{path}, line {place}")


def _parsed(text: str, where: str, parse: Callable[[str], T]) -> T:
    try:
        return parse(text)
    except ValueError as error:  # JSON's, TOML's and the architectures' errors are ValueErrors
        raise VitesseError(f"{where} cannot be read: {error}") from error


def _arch(path: Path) -> Backbone | None:
    if not path.is_file():
        return None
    # A supernet's folder holds a space; what lies in it is the largest network's parameters.
    return largest(_parsed(path.read_text(encoding="utf-8"), str(path), from_json))


def _origin(path: Path) -> Origin:
    if not path.is_file():
        raise VitesseError(f"A run folder holds run.toml, but {path} does not exist. Name the folder of a run.")
    text = path.read_text(encoding="utf-8")
    tables = _Part(where=str(path), values=_parsed(text, str(path), tomllib.loads))
    return Origin(
        run=tables.part("run").values,
        versions=tables.part("versions").values,
        device=tables.part("device").values,
        settings=text,
    )


def _costs(part: _Part, arch: Backbone | None, *, prefix: str = "") -> Costs:
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


def _teacher(folder: Path, result: _Part) -> Teacher | None:
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


def _data(result: _Part) -> Data:
    return Data(
        source=result.part("asked").text("data"),
        classes=result.texts("classes"),
        notes=result.texts("data_notes"),
        fingerprint=result.text("data_fingerprint"),
    )


def _space(part: _Part) -> Space:
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


def _dimension(part: _Part) -> Dimension:
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


def _estimate(part: _Part) -> Estimate:
    return Estimate(value=part.need("value"), low=part.need("low"), high=part.need("high"))


def _candidate(part: _Part) -> Candidate:
    return Candidate(
        arch=_parsed(json.dumps(part.get("arch", dict)), f"{part.where}, `arch`", from_json),
        score=part.need("score"),
        costs=_costs(part.part("costs"), None),
        origin=part.text("origin") or "",
        generation=int(part.number("generation") or 0),
    )


def _curves(path: Path) -> dict[str, tuple[Reading, ...]]:
    """The readings of each stage in order of steps; what is told twice of a step (a resumed run) counts as told last."""
    stages: dict[str, dict[int, Reading]] = {}
    for part in _lines(path):
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


def _speed(part: _Part) -> Speed | None:
    rows = tuple(_timing(row, name=row.text("name"), verdict=row.text("verdict")) for row in part.parts("rows"))
    return Speed(conditions=part.part("conditions").values, rows=rows) if rows else None


def _timing(row: _Part, *, name: str | None, verdict: str | None) -> Timing:
    return Timing(
        name=name or "",
        median_ms=row.need("median_ms"),
        p10_ms=row.number("p10_ms"),
        p90_ms=row.number("p90_ms"),
        spread=row.number("spread"),
        verdict=verdict or "",
    )


def _gate(part: _Part) -> Gate | None:
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


def _serving(part: _Part) -> Serving | None:
    if not part.values:
        return None
    fastest = [(one.text("way"), one.need("batch"), one.need("threads")) for one in part.parts("fastest")]
    return Serving(
        rows=tuple(row for tried in part.parts("tried") for row in _served(tried, fastest)),
        reference=part.text("reference") or "",
        tolerance=part.number("tolerance"),
        conditions=part.part("conditions").values,
    )


def _served(tried: _Part, fastest: list[tuple[str | None, float, float]]) -> Iterator[Served]:
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
