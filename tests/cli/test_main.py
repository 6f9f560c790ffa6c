from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from typing import NoReturn

import pytest

from vitesse import __version__
from vitesse.cli import main as cli
from vitesse.cli.models import Models
from vitesse.errors import UsageError, VitesseError

Captured = pytest.CaptureFixture[str]


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"], ["help"]])
def test_help_names_every_verb_in_one_line(arguments: list[str], capsys: Captured) -> None:
    assert cli.run(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    for verb, what in cli.VERBS.items():
        assert [line.split(maxsplit=1) for line in lines].count([verb, what]) == 1


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_teaches_itself_by_an_example(verb: str, capsys: Captured) -> None:
    with pytest.raises(SystemExit) as end:
        cli.run([verb, "--help"])
    assert end.value.code == 0
    assert f"\n  vitesse {verb} " in capsys.readouterr().out + " "


@pytest.mark.parametrize("verb", cli.VERBS)
def test_no_verb_is_heavy_before_it_runs(verb: str) -> None:
    module = f"vitesse.cli.{verb.replace('-', '_')}"
    modules = f"sys, vitesse.cli.main, {module}"
    code = f"import {modules}; print({{'torch', 'timm', 'optuna', 'plotly'}} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    assert hasattr(import_module(module), verb.title().replace("-", ""))


def test_the_version(capsys: Captured) -> None:
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out == f"vitesse {__version__}\n"


def test_an_unknown_verb_names_the_closest(capsys: Captured) -> None:
    assert cli.run(["srink", "--out", "x"]) == 2
    assert "Did you mean shrink?" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["models", "--jsn"], ["export", "x"], ["bench", "x", "--batch", "many"]])
def test_wrong_arguments_are_wrong_usage(arguments: list[str], capsys: Captured) -> None:
    with pytest.raises(SystemExit) as end:
        cli.run(arguments)
    assert end.value.code == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (VitesseError("the disk is full"), 1, "vitesse: the disk is full\n"),
        (UsageError("no such flag"), 2, "vitesse: no such flag\n"),
        (KeyboardInterrupt(), 130, "\nInterrupted. Start the same command again to go on.\n"),
    ],
)
def test_how_it_ends(
    error: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def fail(self: Models) -> NoReturn:
        raise error

    monkeypatch.setattr(Models, "run", fail)
    assert cli.run(["models"]) == code
    assert capsys.readouterr() == ("", said)


def test_an_unexpected_error_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Models) -> NoReturn:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(Models, "run", fail)
    with pytest.raises(ZeroDivisionError, match="ours"):
        cli.run(["models"])


def test_python_dash_m_and_a_reader_that_has_gone() -> None:
    command = f"{sys.executable} -m vitesse models --json | true"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
