from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vitesse.cli.main import run

Captured = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["--port", "70000"], 2, "0 to 65535"),
        (["--max-body", "much"], 2, "--max-body: "),
        (["--max-pixels", "0"], 2, "--max-pixels: "),
        (["--queue", "0"], 2, "queue must be at least 1"),
        ([], 1, "model.onnx does not exist"),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], code: int, word: str, tmp_path: Path, capsys: Captured) -> None:
    assert run(["serve", str(tmp_path), *arguments]) == code
    assert word in capsys.readouterr().err


def test_what_is_not_installed_is_named(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "vitesse.serve.server", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert run(["serve", str(tmp_path)]) == 2
    assert "python -m pip install 'vitesse-ml[serve]'" in capsys.readouterr().err
