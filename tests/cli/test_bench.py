from __future__ import annotations

import json
from pathlib import Path

import pytest

from vitesse.cli.main import run


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
