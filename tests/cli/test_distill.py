"""`vitesse distill` as a person calls it: from a store, from a live teacher, by two processes, and asked wrongly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vitesse.arch import to_json
from vitesse.cli.main import run
from vitesse.saved import load_network

Captured = pytest.CaptureFixture[str]
SHORT = [f"--set=finish.{one}" for one in ("steps=6", "batch=64", "ema=0.0", "evaluate_every=1", "optimizer=sgd")]


@pytest.fixture(scope="module")
def student(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("student") / "arch.json"
    path.write_text(to_json(load_network(model).arch))
    return path


@pytest.fixture(scope="module")
def store(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "digits"
    command = ["logits", "write", "--teacher", str(model), "--data", "digits", "--epochs", "1", "--out", str(path)]
    assert run(command) == 0
    return path


def test_from_a_store(student: Path, store: Path, tmp_path: Path, capsys: Captured) -> None:
    command = ["distill", "--student", str(student), "--store", str(store), "--out", str(tmp_path / "run"), *SHORT]
    assert run([*command, "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["teacher_test_accuracy"] is None and 0 <= result["test_accuracy"] <= 1
    assert Path(result["model"]).exists() and Path(result["onnx"]).exists()
    assert run([*command, "--json"]) == 0  # once more: everything is there already
    again = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert again["test_accuracy"] == result["test_accuracy"]


@pytest.mark.parametrize(
    ("changed", "code", "word"),
    [
        (["--student", "deit_tinny_patch16_224"], 2, "deit_tiny_patch16_224"),
        (["--store", "nowhere"], 1, "holds no store of logits"),
        (["--set=finish.stepps=3"], 2, "stepps"),
        (["--teacher", "nowhere/at-all.safetensors"], 1, "at-all"),
    ],
)
def test_asked_wrongly(
    changed: list[str], code: int, word: str, student: Path, tmp_path: Path, capsys: Captured
) -> None:
    command = ["distill", "--student", str(student), "--data", "digits", "--out", str(tmp_path / "run"), *changed]
    assert run(command) == code
    assert word in capsys.readouterr().err


def test_two_processes_are_one(student: Path, store: Path, tmp_path: Path) -> None:
    command = ["distill", "--student", str(student), "--store", str(store), *SHORT]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "vitesse"]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    child = subprocess.run(
        [*launch, *command, "--out", str(tmp_path / "two")], env=env, capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr[-3000:]
    assert run([*command, "--out", str(tmp_path / "one")]) == 0
    one, two = (load_network(tmp_path / name).state_dict() for name in ("one", "two"))
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=1e-4, atol=1e-5)
