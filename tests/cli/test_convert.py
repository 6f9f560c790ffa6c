from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from vitesse.arch import from_json
from vitesse.cli.main import run
from vitesse.saved import load_network

create_model = timm.create_model


def small(name: str, pretrained: bool = False, **more: Any) -> Any:
    """timm's own model, without fetching weights and with fewer blocks."""
    torch.manual_seed(1)
    return create_model(name, pretrained=False, depth=2, **more)


def test_it_computes_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(timm, "create_model", small)
    assert run(["convert", "deit_tiny_patch16_224", "--out", str(tmp_path / "teacher")]) == 0
    assert f"--teacher {tmp_path / 'teacher'}" in capsys.readouterr().out
    network, images = load_network(tmp_path / "teacher"), torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        torch.testing.assert_close(network(images), small("deit_tiny_patch16_224").eval()(images))
    assert from_json((tmp_path / "teacher" / "arch.json").read_text()) == network.arch


def test_an_unknown_name_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["convert", "deit_tiny_patch16_225", "--out", str(tmp_path / "x")]) == 1
    assert "deit_tiny_patch16_224" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
