"""Networks of every origin timed against each other in one runtime."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from vitesse.deploy import ExportedFile, bench
from vitesse.errors import UsageError


def test_all_kinds_in_one_runtime(tmp_path: Path, exported: ExportedFile, foreign) -> None:
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(exported.path, run / "model.onnx")
    other = foreign(tmp_path / "other.onnx")
    told: list[str] = []
    result = bench(
        [run, other, str(other), "test_vit"], batch=2, threads=1, rounds=12, progress=lambda *step: told.append(step[2])
    )
    assert [row.name for row in result.rows] == [str(run), str(other), f"{other} #2", "test_vit"]
    assert [row.source for row in result.rows] == ["run folder", "onnx file", "onnx file", "timm, random weights"]
    assert [row.shape for row in result.rows] == [(2, 3, 8, 8)] * 3 + [(2, 3, 160, 160)]
    assert all(row.latency.rounds == 12 for row in result.rows)
    first, second, _, last = result.rows
    assert first.against_first is None
    assert second.against_first is not None and second.against_first.rounds == 12
    assert last.against_first is not None and "slower" in last.against_first.verdict  # by a factor of a hundred
    assert last.images_per_second == pytest.approx(2000 / last.latency.median_ms)
    assert result.conditions.threads == 1
    assert told[0].startswith("preparing") and told[-1] == "timing"
    read = json.loads(json.dumps(result.to_dict()))
    assert read["runtime"] == "ONNX Runtime, CPU"
    assert read["models"][1]["against_first"]["verdict"] == second.against_first.verdict
    assert read["models"][0]["file_bytes"] == exported.bytes and read["models"][0]["against_first"] is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_tiny_patch16_224x", "Perhaps vit_tiny_patch16_224"),
        ("no/such.onnx", "does not exist"),
        (".", "holds no model.onnx.*vitesse export"),
    ],
)
def test_names_that_stand_for_nothing(name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message):
        bench([name])


@pytest.mark.parametrize("wrong", [{"models": []}, {"batch": 0}, {"threads": 0}, {"rounds": 0}])
def test_wrong_requests(wrong: dict) -> None:
    with pytest.raises(UsageError, match="At least one network"):
        bench(**{"models": ["test_vit"], **wrong})


def test_a_file_of_one_batch_size(tmp_path: Path, foreign) -> None:
    file = foreign(tmp_path / "four.onnx", batch=4)
    with pytest.raises(UsageError, match="batches of 4 only"):
        bench([file], batch=2)
    assert bench([file], batch=4, threads=1, rounds=1).rows[0].shape == (4, 3, 8, 8)
