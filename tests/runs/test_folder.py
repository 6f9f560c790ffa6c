from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from vitesse.errors import UsageError, VitesseError
from vitesse.runs import lock
from vitesse.runs.folder import RunFolder
from vitesse.runs.settings import settings_tree

HOLDER = """
import os, sys, time
from vitesse.runs.lock import lock
from pathlib import Path
held = lock(Path(sys.argv[1]))
child = os.fork() if sys.argv[2] == "fork" else 0
if not child:  # so that whoever reads it knows that the child is under way
    print(os.getpid(), flush=True)
time.sleep(60)
"""


@dataclass(frozen=True, kw_only=True)
class Settings:
    epochs: int = 3
    size: int | None = None


@contextmanager
def opened(path: Path, settings: Settings | None = None, *, verb: str = "shrink") -> Iterator[RunFolder]:
    facts = {
        "run": {"verb": verb, "command": f"vitesse {verb} --data 'a b'", "seed": 1},
        "versions": {"python": "3.12", "gone": None},
        "device": {"cores": 2},
    }
    folder = RunFolder.open(path, settings=settings_tree(settings or Settings()), facts=facts)
    try:
        yield folder
    finally:
        folder.close()


@pytest.fixture
def holder(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of `tmp_path / "run"`."""
    (tmp_path / "run").mkdir()
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run"), getattr(request, "param", "alone")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_a_run_says_what_it_is(tmp_path: Path) -> None:
    with opened(tmp_path / "deep" / "run") as folder:
        found = tomllib.loads((folder.path / "run.toml").read_text())
    assert found == {
        "run": {"verb": "shrink", "command": "vitesse shrink --data 'a b'", "seed": 1},
        "versions": {"python": "3.12"},
        "device": {"cores": 2},
        "epochs": 3,
        "size": "none",
    }


def test_stages_are_done_once_and_remembered(tmp_path: Path) -> None:
    with opened(tmp_path / "run") as folder:
        assert not folder.done("teacher")
        with pytest.raises(VitesseError, match="does not exist"):
            folder.outputs("teacher")
        folder.finish("teacher", {"accuracy": 0.5}, seconds=2)
        folder.finish("a-last", {}, seconds=0.5)
    with opened(tmp_path / "run") as again:
        assert again.done("teacher")
        assert again.outputs("teacher") == {"accuracy": 0.5}
        assert list(again.seconds().items()) == [("teacher", 2.0), ("a-last", 0.5)]
        with pytest.raises(ValueError, match="small letters"):
            again.done("../x")


def test_metrics_are_whole_lines_and_are_cut_back(tmp_path: Path) -> None:
    with opened(tmp_path / "run") as folder:
        folder.truncate_after("teacher", 0)
        for step in (1, 2, 3):
            folder.append({"stage": "teacher", "step": step, "loss": float("nan") if step == 1 else 0.5})
        folder.append({"stage": "finish", "step": 9})
    metrics = tmp_path / "run" / "metrics.jsonl"
    with metrics.open("a") as file:
        file.write('{"stage": "teacher", "st')
    with opened(tmp_path / "run") as folder:
        folder.truncate_after("teacher", 1)
        folder.append({"stage": "teacher", "step": 2, "loss": 0.25})
    assert [json.loads(line) for line in metrics.read_text().splitlines()] == [
        {"stage": "teacher", "step": 1, "loss": None},
        {"stage": "finish", "step": 9},
        {"stage": "teacher", "step": 2, "loss": 0.25},
    ]


def test_a_damaged_metrics_line_is_named(tmp_path: Path) -> None:
    with opened(tmp_path / "run") as folder:
        (folder.path / "metrics.jsonl").write_text('{"stage": "a", "step": 1}\n[]\n')
        with pytest.raises(VitesseError, match="line 2"):
            folder.truncate_after("a", 0)


def test_a_run_that_came_to_nothing_begins_anew(tmp_path: Path) -> None:
    with opened(tmp_path / "run"):
        pass
    with opened(tmp_path / "run", Settings(epochs=4)):
        assert tomllib.loads((tmp_path / "run" / "run.toml").read_text())["epochs"] == 4


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    with opened(tmp_path / "run") as folder:
        folder.append({"stage": "a", "step": 1})
    with (
        pytest.raises(UsageError, match=r"epochs: 3 there, 4 now") as caught,
        opened(tmp_path / "run", Settings(epochs=4)),
    ):
        pass
    assert "size" not in str(caught.value)
    with (
        pytest.raises(UsageError, match=r"size: 'none' there, 8 now"),
        opened(tmp_path / "run", replace(Settings(), size=8)),
    ):
        pass
    with (
        pytest.raises(UsageError, match=r"`vitesse shrink`, not of `vitesse train`"),
        opened(tmp_path / "run", verb="train"),
    ):
        pass


def test_a_folder_of_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match=r"thesis.tex"), opened(tmp_path):
        pass
    assert sorted(item.name for item in tmp_path.iterdir()) == ["thesis.tex"]


def test_hidden_files_and_the_rests_of_a_killed_start_do_not_matter(tmp_path: Path) -> None:
    for name in (".DS_Store", ".run.0a1b2c3d.tmp.toml", ".lock"):
        (tmp_path / name).touch()
    with opened(tmp_path):
        pass
    assert sorted(item.name for item in tmp_path.iterdir()) == [".DS_Store", ".lock", "run.toml"]


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(VitesseError, match=r"cannot be written"), opened(tmp_path / "file" / "run"):
        pass
    with pytest.raises(VitesseError, match=r"cannot be written"), opened(tmp_path / "file"):
        pass


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(VitesseError, match=r"cannot be written"), opened(tmp_path):
        pass


def test_the_second_process_is_refused(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(VitesseError, match=rf"process {holder.pid} works in"), opened(tmp_path / "run"):
        pass
    holder.kill()
    holder.wait()
    with opened(tmp_path / "run") as folder:
        assert folder.path.is_dir()


@pytest.mark.parametrize("holder", ["fork"], indirect=True)
def test_a_worker_that_outlives_its_killed_parent_holds_nothing(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    holder.kill()
    holder.wait()
    try:
        with opened(tmp_path / "run") as folder:
            assert folder.path.is_dir()
    finally:
        os.kill(child, signal.SIGKILL)


def test_within_one_process_a_folder_is_open_once(tmp_path: Path) -> None:
    with (
        opened(tmp_path / "run"),
        pytest.raises(VitesseError, match=rf"process {os.getpid()}"),
        opened(tmp_path / "run"),
    ):
        pass


def test_where_there_are_no_locks_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "fcntl", None)
    with pytest.warns(RuntimeWarning, match="no locks"), opened(tmp_path / "run") as folder:
        assert (folder.path / "run.toml").is_file()
