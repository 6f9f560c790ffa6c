"""Images that arrive one by one, computed together: as many as are there, after a wait that has an end."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from vitesse.deploy.answers import Pixels, Shares, to_input, to_shares
from vitesse.deploy.runtime import Images, Runtime


@dataclass(frozen=True, slots=True)
class _Ready:
    pixels: Pixels  # (C, H, W)
    answer: asyncio.Future[Shares]  # (classes,)
    since: float  # on the event loop's clock


class Batcher:
    """One thread in which the network runs, and the images that wait for it. To be used within one event loop.

    A batch begins when the thread is free and `max_batch` images are there, or `coming()` says that no other is on its
    way, or the first has waited for `max_wait_ms`. `ran(images, seconds)` is called after each.
    """

    def __init__(
        self,
        runtime: Runtime,
        shape: tuple[int, int, int],
        *,
        max_batch: int,
        max_wait_ms: float,
        coming: Callable[[], bool],
        ran: Callable[[int, float], None],
    ) -> None:
        self._runtime, self._max_batch, self._max_wait = runtime, max_batch, max_wait_ms / 1e3
        self._coming, self._ran = coming, ran
        self._inputs: Images = np.empty((max_batch, *shape), np.float32)  # (B, C, H, W)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="network")
        self._waiting: deque[_Ready] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._busy = False

    def put(self, pixels: Pixels, answer: asyncio.Future[Shares]) -> None:
        """Compute the shares of the classes in one of the next batches."""
        self._waiting.append(_Ready(pixels, answer, asyncio.get_running_loop().time()))
        self._consider()

    def stop(self) -> None:
        """End the thread after the batch that it is at."""
        self._thread.shutdown()

    def _consider(self) -> None:
        """Begin a batch, or see to it that one begins in time."""
        if self._busy or not self._waiting:
            return
        loop = asyncio.get_running_loop()
        latest = self._waiting[0].since + self._max_wait
        if len(self._waiting) >= self._max_batch or not self._coming() or loop.time() >= latest:
            self._begin()
        elif self._timer is None:
            self._timer = loop.call_at(latest, self._begin)

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._busy = True
        batch = [self._waiting.popleft() for _ in range(min(self._max_batch, len(self._waiting)))]
        running = asyncio.get_running_loop().run_in_executor(self._thread, self._run, [one.pixels for one in batch])
        running.add_done_callback(lambda done: self._end(batch, done))

    def _run(self, pixels: list[Pixels]) -> tuple[Shares, float]:
        """In the thread: the shares (B, classes), and the seconds that the network took."""
        images = self._inputs[: len(pixels)]
        for place, one in enumerate(pixels):
            to_input(one, out=images[place])
        began = time.perf_counter()
        logits = self._runtime.run(images)
        return to_shares(logits), time.perf_counter() - began

    def _end(self, batch: list[_Ready], done: asyncio.Future[tuple[Shares, float]]) -> None:
        self._busy = False
        failure = done.exception()
        if failure is None:
            shares, seconds = done.result()
            self._ran(len(batch), seconds)
        for place, one in enumerate(batch):
            if one.answer.cancelled():
                continue
            if failure is None:
                one.answer.set_result(shares[place])
            else:
                one.answer.set_exception(failure)
        self._consider()
