from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from torch import nn

from vitesse import data
from vitesse.cli.main import run
from vitesse.data import Preprocess
from vitesse.deploy import OnnxRuntime, exporting, missing, runtime, served
from vitesse.nets import build
from vitesse.saved import load_network, save_network


def test_the_file_describes_itself(exported: Path, model: Path) -> None:
    about = OnnxRuntime(exported).metadata
    assert about is not None
    assert about.classes == tuple("0123456789")
    assert about.preprocess == load_network(model).preprocess


def test_where_to_write_is_checked_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", "nothing", "--data", "digits", "--out", str(tmp_path / "x.txt")]) == 2
    assert "must name an .onnx file" in capsys.readouterr().err
    assert (
        run(["export", "nothing", "--data", "digits", "--to", "onnx", "torch", "--out", str(tmp_path / "x.onnx")]) == 2
    )
    assert "one format or, without --out, several" in capsys.readouterr().err


def test_a_missing_network_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", str(tmp_path / "a.safetensors"), "--data", "digits", "--out", str(tmp_path / "x.onnx")]) == 1
    assert "a.safetensors does not exist" in capsys.readouterr().err


def test_a_network_without_classes_is_refused(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_network(build(load_network(model).arch), tmp_path / "bare.safetensors")
    arguments = [str(tmp_path / "bare.safetensors"), "--data", "digits", "--out", str(tmp_path / "x.onnx")]
    assert run(["export", *arguments]) == 1
    assert "names of the classes" in capsys.readouterr().err
    assert not (tmp_path / "x.onnx").exists()


def test_smaller_numbers_are_tried_beside_the_file(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the images of the gate's own data, which is read once."""
    out, real, read = tmp_path / "small.onnx", data.load_parts, []
    monkeypatch.setattr(data, "load_parts", lambda *given, **more: read.append(given) or real(*given, **more))
    asked = [
        "--data",
        "digits",
        "--out",
        str(out),
        "--int8",
        "--fp16",
        "--runtime",
        "onnxruntime",
        "--tolerance",
        "0.5",
    ]
    assert run(["export", str(model.parent), *asked]) == 0
    shown = capsys.readouterr().out
    rows = {line.split()[1]: line for line in shown.splitlines() if line.startswith("onnxruntime ")}
    assert list(rows) == ["fp32", "fp16", "int8"]
    assert len(read) == 1
    kept = {file.name for file in tmp_path.iterdir()} - {"small.onnx"}
    assert kept == {f"small.{name}.onnx" for name in ("fp16", "int8") if " yes" in rows[name]}


def test_several_formats_lie_beside_the_network(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(model, tmp_path / "mine.safetensors")
    arguments = [str(tmp_path / "mine.safetensors"), "--data", "digits", "--to", "torch", "executorch"]
    assert run(["export", *arguments]) == 0
    shown = capsys.readouterr()
    assert f"Written: {tmp_path / 'mine.pt2'} (" in shown.out and "accuracy: network" in shown.out
    if reason := missing("executorch"):
        assert f"Not written for executorch. {reason}" in shown.err
    else:
        assert "of its operations by XNNPACK" in shown.out


def test_what_is_not_installed_is_wrong_usage(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runtime, "find_spec", lambda module: None)
    assert run(["export", str(model), "--data", "digits", "--to", "openvino"]) == 2
    assert "pip install 'vitesse-ml[openvino]'" in capsys.readouterr().err


def test_a_gate_that_stays_shut_is_a_failure(
    model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def other(network: nn.Module, preprocess: Preprocess) -> served.Served:
        return served.served(build(load_network(model).arch), preprocess)

    monkeypatch.setattr(exporting, "served", other)
    assert run(["export", str(model), "--data", "digits", "--to", "torch", "--out", str(tmp_path / "x.pt2")]) == 1
    error = capsys.readouterr().err
    assert "not written" in error and "batch 8: largest difference" in error
    assert not list(tmp_path.iterdir())
