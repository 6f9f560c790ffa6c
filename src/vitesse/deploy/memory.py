"""The memory that serving a file takes, measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from vitesse.deploy.onnx_runtime import OnnxRuntime
from vitesse.errors import UsageError, VitesseError

_CHILD = Path(__file__).with_name("_memory_child.py")  # not imported: it loads ONNX Runtime at once


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """The largest resident memory of a fresh process, in bytes."""

    idle_bytes: int  # with the runtime loaded, before the file is
    peak_bytes: int  # after the file was loaded and run

    @property
    def network_bytes(self) -> int:
        """What the network itself adds; loading counts, where the runtime holds the weights twice for a moment."""
        return self.peak_bytes - self.idle_bytes


def measure_memory(path: Path | str, *, batch: int = 1, threads: int = 1) -> Memory:
    """Serve the file in a process of its own and read how much memory that took at most.

    UsageError where the file leaves the size of its images open; VitesseError where it cannot be served.
    """
    _, *image = OnnxRuntime(path, threads=threads).shape
    if None in image:
        raise UsageError(f"{path} leaves the size of its images open, so its memory cannot be measured.")
    child = [sys.executable, str(_CHILD), str(path), str(threads), json.dumps([batch, *image])]
    done = subprocess.run(child, capture_output=True, text=True)
    if done.returncode:
        raise VitesseError(f"{path} could not be served to measure its memory: {done.stderr.strip()[-300:]}")
    found = json.loads(done.stdout)
    return Memory(idle_bytes=found["before"], peak_bytes=found["after"])
