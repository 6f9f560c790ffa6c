from __future__ import annotations

import json
from pathlib import Path

import pytest

from vitesse.arch import cost, from_json
from vitesse.errors import VitesseError
from vitesse.report.reading import read_summary


def put(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_what_the_files_say_is_what_is_read(folder: Path) -> None:
    summary = read_summary(folder)
    assert summary.name == "pets"
    assert summary.verb == "shrink"
    assert summary.outcome.accuracy == 0.9341
    assert summary.outcome.interval == (0.9253, 0.9421)
    assert summary.outcome.costs.latency_ms == 8.31
    assert summary.teacher is not None and summary.teacher.outcome.accuracy == 0.9468
    assert summary.budget == {"max_params": 6_500_000, "max_latency_ms": 12.0}
    assert summary.budget_met is True
    assert summary.data.classes[:2] == ("Abyssinian", "Bengal")
    assert len(summary.candidates) == 96
    assert {stage: len(readings) for stage, readings in summary.curves.items()} == {
        "teacher": 1600,
        "supernet": 2400,
        "finish": 1200,
    }
    assert summary.files["model.safetensors"] == 1_000_000
    assert summary.seconds_by_stage["search"] == 1180.5
    assert summary.origin.run["seed"] == 7


def test_run_toml_alone_is_a_run(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('[run]\ncommand = "vitesse train"\n')
    summary = read_summary(tmp_path)
    assert summary.verb == "train"
    assert summary.arch is None and summary.teacher is None and summary.speed is None and summary.gate is None
    assert summary.candidates == () and summary.curves == {} and summary.outcome.costs.params is None


def test_a_folder_without_run_toml_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(VitesseError, match=r"run\.toml"):
        read_summary(tmp_path)


def test_costs_that_no_file_tells_follow_from_the_architecture(folder: Path) -> None:
    (folder / "result.json").unlink()
    summary = read_summary(folder)
    told = cost(from_json((folder / "arch.json").read_text()))
    assert (summary.outcome.costs.params, summary.outcome.costs.macs) == (told.params, told.macs)
    assert summary.outcome.costs.memory_bytes == told.memory_bytes
    assert summary.outcome.costs.latency_ms is None


def test_a_space_stands_for_its_largest_network(folder: Path) -> None:
    open_arch = json.loads((folder / "arch.json").read_text())
    open_arch["stages"][0]["dim"] = {"type": "Choice", "options": [192, 240]}
    (folder / "arch.json").write_text(json.dumps(open_arch))
    arch = read_summary(folder).arch
    assert arch is not None and arch.stages[0].dim == 240


def test_a_line_that_a_killed_run_left_unfinished_is_not_read(folder: Path) -> None:
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "finish", "st')
    assert len(read_summary(folder).curves["finish"]) == 1200


def test_a_damaged_line_before_the_last_is_named(folder: Path) -> None:
    path = folder / "candidates.jsonl"
    lines = path.read_text().splitlines()
    lines[2] = lines[2][:40]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(VitesseError, match=r"candidates\.jsonl, line 3"):
        read_summary(folder)


def test_a_resumed_stage_counts_as_told_last(tmp_path: Path) -> None:
    (tmp_path / "run.toml").touch()
    told = [
        {"stage": "finish", "step": 2, "loss": 9.0, "accuracy": 0.5},
        {"stage": "finish", "step": 1, "loss": float("nan")},
        {"stage": "finish", "step": 2, "loss": 3.0},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in told))
    readings = read_summary(tmp_path).curves["finish"]
    assert [(item.step, item.loss, item.accuracy) for item in readings] == [(1, None, None), (2, 3.0, 0.5)]


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("result.json", "test_accuracy", "high"),
        ("result.json", "test_accuracy", True),
        ("result.json", "test_interval", [0.1]),
        ("result.json", "classes", "cat"),
        ("result.json", "budget_met", 1),
        ("speed.json", "rows", [{"name": "winner"}]),
        ("gate.json", "tolerance", None),
    ],
)
def test_a_wrong_value_is_named_with_its_file(folder: Path, name: str, key: str, value: object) -> None:
    put(folder / name, **{key: value})
    with pytest.raises(VitesseError, match=name.replace(".", r"\.")):
        read_summary(folder)
