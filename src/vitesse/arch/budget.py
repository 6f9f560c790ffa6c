"""A budget: the most that a network may cost. Any limits together; `5.7M`, `1.3G`, `12ms`, `300MiB` are understood."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

SCALES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
BYTE_SCALES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
TIME_SCALES = {"us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """Limits on parameters, multiply-adds, latency on this device (milliseconds) and memory (bytes); None: no limit."""

    max_params: int | None = None
    max_macs: int | None = None
    max_latency_ms: float | None = None
    max_memory_bytes: int | None = None

    def __post_init__(self) -> None:
        for name, limit in self.limits().items():
            if not math.isfinite(limit) or limit <= 0:
                raise ValueError(
                    f"A limit must be a positive number, but max_{name} is {limit}. Leave it out for none."
                )

    def limits(self) -> dict[str, float]:
        """The limits that are set, by the name of the cost: `{"params": 60000}`."""
        named = {
            "params": self.max_params,
            "macs": self.max_macs,
            "latency_ms": self.max_latency_ms,
            "memory_bytes": self.max_memory_bytes,
        }
        return {name: limit for name, limit in named.items() if limit is not None}


def parse_count(text: str) -> int:
    """`60k`, `5.7M`, `1.3G` or a plain number, as an integer."""
    return _whole(text, SCALES, "60k, 5.7M or 1300000000", default="")


def parse_bytes(text: str) -> int:
    """`300MB`, `1.5GiB` or a plain number of bytes, as bytes."""
    return _whole(text, BYTE_SCALES, "300MB, 1.5GiB or 2000000", default="b")


def parse_milliseconds(text: str) -> float:
    """`12ms`, `800us`, `0.5s` or a plain number of milliseconds, as milliseconds."""
    return _parse(text, TIME_SCALES, "12ms, 800us or 0.5s", default="ms")


def _whole(text: str, scales: dict[str, int], examples: str, *, default: str) -> int:
    count = round(_parse(text, scales, examples, default=default))  # 1.001k is 1000.99... in floating point
    if count < 1:
        raise ValueError(f"A limit must be at least 1, but got {text!r}. Write one like {examples}.")
    return count


def _parse(text: str, scales: dict[str, float] | dict[str, int], examples: str, *, default: str) -> float:
    found = re.fullmatch(r"(\d+(?:_\d+)*(?:\.\d+)?|\.\d+)\s*([a-zµ]*)", text.strip().lower(), re.ASCII | re.IGNORECASE)
    unit = (found[2] or default) if found else ""
    if found is None or unit not in scales:
        raise ValueError(f"A limit is a positive number with a unit, like {examples}, but got {text!r}.")
    value = float(found[1].replace("_", "")) * scales[unit]
    if not math.isfinite(value) or value <= 0:
        raise ValueError(f"A limit must be more than nothing and finite, but got {text!r}. Write one like {examples}.")
    return value
