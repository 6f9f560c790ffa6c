"""A run of the main job that takes seconds: the digits, a few steps a stage, a handful of candidates."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vitesse.arch import Budget
from vitesse.deploy import exporting
from vitesse.deploy.onnx_export import draft_onnx
from vitesse.runs.folder import RunFolder
from vitesse.runs.settings import settings_tree
from vitesse.shrink.job import Voice
from vitesse.shrink.settings import ExportSettings, SearchSettings, ShrinkSettings, SupernetSettings, TeacherSettings
from vitesse.train.settings import TrainSettings

Report = Callable[[int, int, str], None]
BRIEF = TrainSettings(epochs=1, batch=128, lr=1e-3, ema=0.9, drop_path=0.1, evaluate_every=1, checkpoint_seconds=0)


ONE_PATH = SupernetSettings(rule="single", train=replace(BRIEF, drop_path=0.0))  # a quarter of the default's time


def brief(**changes: Any) -> ShrinkSettings:
    """Settings of a run that takes seconds, with changes."""
    settings = ShrinkSettings(
        budget=Budget(max_params=60_000),
        teacher=TeacherSettings(train=BRIEF),
        supernet=SupernetSettings(train=replace(BRIEF, drop_path=0.0)),
        search=SearchSettings(population=4, generations=2),
        finish=BRIEF,
        # Barely trained networks say little: a rounding error may turn the class of an image. Exporting a teacher takes as
        # long as all the rest.
        export=ExportSettings(rounds=10, accuracy_tolerance=0.02, time_teacher=False),
    )
    return replace(settings, **changes)


KNOWN: dict[bytes, tuple[int, bytes]] = {}


@pytest.fixture(autouse=True, scope="module")
def exports_are_remembered() -> Iterator[None]:
    """A third of such a run is the export, and many end in the same network: its file is written again, and tried as ever."""

    def remembered(network: Any, path: Path, *, metadata: Any, **options: Any) -> int:
        content = hashlib.sha256(repr((metadata, options)).encode())
        for name, tensor in network.state_dict().items():
            content.update(name.encode() + tensor.numpy().tobytes())
        key = content.digest()
        if key not in KNOWN:
            KNOWN[key] = draft_onnx(network, path, metadata=metadata, **options), path.read_bytes()
        path.write_bytes(KNOWN[key][1])
        return KNOWN[key][0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "draft_onnx", remembered)
        yield


@contextlib.contextmanager
def opened(path: Path, settings: ShrinkSettings) -> Iterator[RunFolder]:
    """The run's folder, let go at the end as the end of a process would."""
    facts: dict[str, dict[str, Any]] = {
        "run": {"verb": "shrink", "command": "vitesse shrink"},
        "versions": {},
        "device": {},
    }
    folder = RunFolder.open(path, settings=settings_tree(settings), facts=facts)
    try:
        yield folder
    finally:
        folder.close()


class Listener:
    """Hears what a run says, and may end it at a moment of a stage, as a kill would."""

    def __init__(self, *, die: tuple[str, int] | None = None) -> None:
        self.stages: list[str] = []
        self.said: list[str] = []
        self.die = die

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Report]:
        self.stages.append(name)
        told = 0

        def report(done: int, total: int, note: str) -> None:
            nonlocal told
            told += 1
            if self.die == (name, told):
                raise Killed

        if self.die == (name, 0):
            raise Killed
        yield report

    @property
    def voice(self) -> Voice:
        return Voice(stage=self.stage, say=self.said.append)


class Killed(BaseException):
    """What stands for `kill -9`: no handler of the source catches it."""


def whole_settings() -> ShrinkSettings:
    """Those of `whole`: its teacher is timed, too."""
    asked = brief()
    return replace(asked, export=replace(asked.export, time_teacher=True))


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder and the result of one whole run, for tests that only look."""
    from vitesse.shrink.run import shrink

    path = tmp_path_factory.mktemp("runs") / "whole"
    with opened(path, whole_settings()) as folder:
        return path, shrink(whole_settings(), folder, voice=Listener().voice)
