from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from vitesse.cli.main import run
from vitesse.cli.ways import show_choice
from vitesse.deploy.choosing import choose
from vitesse.deploy.evidence import Evidence, Pictures
from vitesse.deploy.preparing import Subject
from vitesse.deploy.ways import Way


def test_figures_conditions_and_verdicts_are_shown(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", str(exported.parent), str(exported), "--rounds", "3", "--threads", "1"]) == 0
    shown = capsys.readouterr().out
    assert "is the first" in shown
    assert "no verdict (3 rounds" in shown
    assert "ONNX Runtime, CPU; 1 threads" in shown
    assert "onnxruntime 1" in shown


def test_json_has_a_row_for_each(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", str(exported), str(exported), "--rounds", "2", "--batch", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["shape"] for row in found["models"]] == [[3, 1, 8, 8]] * 2
    assert all(row["rounds"] == 2 for row in found["models"])
    assert found["models"][0]["against_first"] is None


def test_nothing_to_time_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench"]) == 2
    assert "0 networks" in capsys.readouterr().err


def test_ways_are_shown_with_what_they_lose(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ways = ["--runtime", "onnxruntime", "eager", "--fp16", "--batch", "1", "2", "--threads", "1", "--rounds", "2"]
    assert run(["bench", str(exported.parent), *ways, "--data", "digits"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("onnxruntime fp16") >= 2 and shown.count("the reference") == 2
    assert re.search(r"Accuracy on \d+ images of the search part .*; 0\.50% may be lost", shown)
    assert "Fastest at batch 2 with 1 threads: onnxruntime fp32" in shown
    assert not (exported.parent / "serving.json").exists()  # nothing is kept that was not to be


def test_what_is_to_be_kept_serves_from_then_on(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ways = ["--runtime", "onnxruntime", "--threads", "1", "--rounds", "2", "--data", "digits", "--keep", "--json"]
    assert run(["bench", str(exported.parent), *ways]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(one["runtime"], one["precision"], one["kept"]) for one in found["tried"]] == [
        ("onnxruntime", "fp32", True)
    ]
    left = json.loads((exported.parent / "serving.json").read_text())
    assert left["fastest"] == found["fastest"] and left["network"] == "model.onnx"
    (exported.parent / "serving.json").unlink()


def test_without_data_time_alone_decides(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", str(exported), "--runtime", "onnxruntime", "--rounds", "1", "--threads", "1"]) == 0
    assert "Judged by time alone" in capsys.readouterr().out


def test_random_weights_have_no_accuracy(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside a trained network, whose accuracy is told."""
    images = Pictures(images=np.random.default_rng(0).random((8, 1, 8, 8), np.float32))
    evidence = Evidence(calibration=images, judged=images, tolerance=0.0)
    subjects = [
        Subject(name=name, file=exported, evidence=evidence, trained=trained)
        for name, trained in (("resnet18", False), ("mine", True))
    ]
    show_choice(choose(subjects, [Way("onnxruntime"), Way("onnxruntime", "fp16")], tmp_path, rounds=1))
    shown = capsys.readouterr().out
    assert "resnet18 has random weights: it is judged by time alone" in shown
    assert "Share of the network's own answers that stay of mine on 8 images" in shown
    assert all(
        "%" not in line.split("reference")[-1] for line in shown.splitlines() if line.startswith("resnet18 onnx")
    )


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["--int8"], "are of --runtime"),
        (["--runtime", "all", "--int8"], "Name images with --data"),
        (["--runtime", "all", "--keep"], "Name images with --data"),
    ],
)
def test_ways_that_need_more_are_refused(
    asked: list[str], message: str, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["bench", str(exported), *asked]) == 2
    assert message in capsys.readouterr().err
