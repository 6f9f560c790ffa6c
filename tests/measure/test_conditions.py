"""The conditions of a measurement, read from systems that tell more or less."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from vitesse.measure import Conditions, conditions, usable_cores


def test_now_is_json_and_says_what_it_was_told() -> None:
    read = json.loads(json.dumps(Conditions.now(threads=3).to_dict()))
    assert read["threads"] == 3
    assert read["cores"] == usable_cores() >= 1
    assert read["python"] == ".".join(map(str, sys.version_info[:3]))
    assert read["torch"] and read["onnxruntime"] and read["cpu"] and read["system"]
    assert read["date"].endswith("+00:00")


def test_cpuinfo_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    core = "processor\t: {}\nmodel name\t: Fast: Chip 9\ncpu MHz\t\t: {}\n\n"
    file.write_text(core.format(0, "1000.0") + core.format(1, "2000.0"))
    monkeypatch.setattr(conditions, "_CPUINFO", file)
    now = Conditions.now(threads=1)
    assert (now.cpu, now.clock_mhz) == ("Fast: Chip 9", 1500.0)


@pytest.mark.parametrize("text", ["processor\t: 0\nBogoMIPS\t: 50\n", None])
def test_a_system_that_tells_less(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "cpuinfo"
    if text is not None:
        file.write_text(text)
    monkeypatch.setattr(conditions, "_CPUINFO", file)
    now = Conditions.now(threads=1)
    assert now.clock_mhz is None and now.cpu


def test_a_missing_package_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(package: str) -> str:
        raise conditions.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(conditions.metadata, "version", missing)
    now = Conditions.now(threads=1)
    assert now.torch is None and now.onnxruntime is None


def test_the_room_imports_nothing_heavy() -> None:
    code = "import sys, vitesse.measure; print([m for m in ('torch', 'numpy', 'onnxruntime') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
