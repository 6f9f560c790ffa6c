from __future__ import annotations

from pathlib import Path

import pytest

from vitesse.cli.main import run


def test_the_page_is_written_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.toml").write_text('[run]\ncommand = "vitesse shrink"\n')
    assert run(["report", str(tmp_path)]) == 0
    assert str(tmp_path / "report.html") in capsys.readouterr().out
    assert (tmp_path / "report.html").read_text().startswith("<!DOCTYPE html>")


def test_no_run_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", str(tmp_path)]) == 1
    assert "run.toml does not exist" in capsys.readouterr().err
