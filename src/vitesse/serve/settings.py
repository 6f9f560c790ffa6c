"""What a service binds to, how it batches, and the limits that it holds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vitesse.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeSettings:
    """The settings of a service; UsageError where one is out of its range."""

    host: str = "127.0.0.1"
    port: int = 8000  # 0: any free one
    max_batch: int = 16  # images that the network computes together
    max_wait_ms: float = 5.0  # the longest that a decoded image waits for others that are being decoded
    max_body: int = 20_000_000  # bytes of one request
    max_pixels: int = 25_000_000  # of one picture, as its header states them
    queue: int = 256  # images that are in the house at once, from their request's first byte to its answer
    upload_s: float = 30.0  # the longest that a request's body may take to arrive
    decode_s: float = 5.0  # the longest that one picture may take to decode
    decode_workers: int | None = None  # processes that decode; None: one for each core
    threads: int | None = None  # of the network; None: the runtime's own choice

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise UsageError(f"A port is a number from 0 to 65535, but got {self.port}.")
        counts = {
            "max_batch": self.max_batch,
            "max_body": self.max_body,
            "max_pixels": self.max_pixels,
            "queue": self.queue,
            "decode_workers": self.decode_workers,
            "threads": self.threads,
        }
        for name, count in counts.items():
            if count is not None and count < 1:
                raise UsageError(f"{name} must be at least 1, but got {count}.")
        for name, limit in {"upload_s": self.upload_s, "decode_s": self.decode_s}.items():
            if not (math.isfinite(limit) and limit > 0):
                raise UsageError(f"{name} must be a positive number of seconds, but got {limit}.")
        if not (math.isfinite(self.max_wait_ms) and self.max_wait_ms >= 0):
            raise UsageError(f"max_wait_ms must be a number of milliseconds, 0 or more, but got {self.max_wait_ms}.")
