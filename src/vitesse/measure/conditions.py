"""The conditions under which something was timed: without them a latency means nothing."""

from __future__ import annotations

import dataclasses
import datetime
import os
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """The machine and the software at one moment; None where the system does not tell."""

    date: str  # ISO 8601, UTC
    cpu: str
    cores: int  # that this process may use
    threads: int  # that the timed calls were given
    clock_mhz: float | None  # mean over the cores, at this moment
    load: float | None  # run queue, mean over the last minute
    system: str
    python: str
    torch: str | None
    onnxruntime: str | None

    @classmethod
    def now(cls, *, threads: int) -> Conditions:
        """Read them from the system, without importing torch or a runtime."""
        cpu, clock = _cpu()
        return cls(
            date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            cpu=cpu,
            cores=usable_cores(),
            threads=threads,
            clock_mhz=clock,
            load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
            system=f"{platform.system()} {platform.machine()}",
            python=platform.python_version(),
            torch=_version("torch"),
            onnxruntime=_version("onnxruntime"),
        )

    def to_dict(self) -> dict[str, str | int | float | None]:
        """All of it, for JSON."""
        return dataclasses.asdict(self)


def usable_cores() -> int:
    """How many cores this process may use (a container or `taskset` may allow fewer than there are)."""
    if hasattr(os, "sched_getaffinity"):  # Linux only
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu() -> tuple[str, float | None]:
    """The processor's name, and the mean clock of its cores in MHz."""
    if not _CPUINFO.exists():
        return platform.processor() or platform.machine(), None
    pairs = [line.split(":", 1) for line in _CPUINFO.read_text().splitlines() if ":" in line]
    fields = [(key.strip(), value.strip()) for key, value in pairs]
    names = [value for key, value in fields if key == "model name"]  # absent on most Arm systems
    clocks = [float(value) for key, value in fields if key == "cpu MHz"]
    return names[0] if names else platform.machine(), sum(clocks) / len(clocks) if clocks else None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
