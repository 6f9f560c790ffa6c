"""Pictures decoded in processes of their own; one that takes too long, or breaks its process, costs nobody else anything.

Small pictures travel in groups, as a message costs about as much as decoding one of them. A process that is overdue is
killed and replaced at once; what it had not begun goes to another.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vitesse.data.preprocess import Preprocess
from vitesse.deploy.answers import Pixels
from vitesse.errors import VitesseError
from vitesse.serve.decoder import GROUP, Slab, work
from vitesse.serve.refusal import RefusedError
from vitesse.serve.settings import ServeSettings

_SMALL = 65_536  # bytes of a group; a larger picture travels alone
_START_S = 60.0  # for a process to start, on a busy machine
_PAUSE_S = 1.0  # before the next one is tried


@dataclass(frozen=True, slots=True)
class Job:
    """One encoded picture, and who is told its pixels (C, H, W), or why there are none."""

    body: bytes
    done: Callable[[Pixels | RefusedError], None]


class Decoders:
    """All decoding processes and what waits for them. To be used within one event loop.

    `replaced` is called whenever a process had to be replaced.
    """

    def __init__(
        self, preprocess: Preprocess, settings: ServeSettings, *, workers: int, replaced: Callable[[], None]
    ) -> None:
        # Forked from a process without threads that has imported everything already: starting one takes milliseconds.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["vitesse.serve.decoder"])
        self._waiting: deque[Job] = deque()
        self._small = min(_SMALL, settings.max_body)
        self._replaced = replaced
        self._lanes = [_Lane(self, context, preprocess, settings) for _ in range(workers)]

    async def start(self) -> None:
        """Start all processes and wait until they are ready; VitesseError where one does not start."""
        for lane in self._lanes:
            lane.start()
        try:
            async with asyncio.timeout(_START_S):
                await asyncio.gather(*(lane.ready.wait() for lane in self._lanes))
        except TimeoutError:
            self.stop()
            raise VitesseError(f"The processes that decode pictures did not start within {_START_S:.0f} s.") from None

    def stop(self) -> None:
        """End all processes; nothing may be waiting any more."""
        for lane in self._lanes:
            lane.end()

    def put(self, job: Job) -> None:
        """Decode a picture as soon as a process is free."""
        self._waiting.append(job)
        self.feed()

    def feed(self) -> None:
        """Give what waits to the processes that are free."""
        for lane in self._lanes:
            if not self._waiting:
                return
            if lane.free:
                lane.take(self._group())

    def overdue(self, rest: list[Job]) -> None:
        """Note that a process is being replaced; `rest` is what it had not begun."""
        self._waiting.extendleft(reversed(rest))
        self._replaced()

    def _group(self) -> list[Job]:
        """The next picture, and those after it that are small: no more than leave something for each free process."""
        free = sum(lane.free for lane in self._lanes)
        most = min(GROUP, -(-len(self._waiting) // free))
        group = [self._waiting.popleft()]
        size = len(group[0].body)
        while len(group) < most and size + len(self._waiting[0].body) <= self._small:
            size += len(self._waiting[0].body)
            group.append(self._waiting.popleft())
        return group


class _Lane:
    """One decoding process after another, with the memory that they share with the service."""

    def __init__(self, decoders: Decoders, context: Any, preprocess: Preprocess, settings: ServeSettings) -> None:
        shape = (preprocess.channels, *preprocess.size)
        self._decoders, self._context, self._preprocess, self._settings = decoders, context, preprocess, settings
        size = Slab.size(settings.max_body, shape)
        self._slab = Slab(memory=context.RawArray("B", size), max_body=settings.max_body, shape=shape)
        self._bodies, self._pixels = self._slab.bodies(), self._slab.pixels()
        self._jobs: deque[Job] = deque()
        self._place = 0  # of the first of `_jobs` in its group
        self._alarm: asyncio.TimerHandle | None = None
        self.ready = asyncio.Event()

    @property
    def free(self) -> bool:
        """Whether the process waits for work."""
        return self.ready.is_set() and not self._jobs

    def start(self) -> None:
        """Start a process; `ready` tells when it can work."""
        self.ready.clear()
        self._pipe, theirs = self._context.Pipe()
        given = (theirs, self._slab, self._preprocess, self._settings.max_pixels)
        self._process = self._context.Process(target=work, args=given, daemon=True, name="vitesse-decoder")
        self._process.start()
        theirs.close()
        asyncio.get_running_loop().add_reader(self._pipe.fileno(), self._told)

    def end(self) -> None:
        """Kill the process: it holds nothing that could be lost."""
        self._quiet()
        asyncio.get_running_loop().remove_reader(self._pipe.fileno())
        self._pipe.close()
        self._process.kill()
        self._process.join()

    def take(self, group: list[Job]) -> None:
        """Let the process decode a group that fits into the memory."""
        start = 0
        for job in group:
            end = start + len(job.body)
            self._bodies[start:end] = job.body
            start = end
        self._jobs.extend(group)
        self._place = 0
        self._watch()
        with contextlib.suppress(BrokenPipeError):  # it has just died: what is read from the pipe will say so
            self._pipe.send_bytes(json.dumps([len(job.body) for job in group]).encode())

    def _told(self) -> None:
        """Hear what the process says: that it is ready, or what became of the next pictures."""
        try:
            results = json.loads(self._pipe.recv_bytes())
        except (EOFError, ConnectionResetError):
            if self.ready.is_set():
                self._fail(RefusedError(400, "The picture broke the process that decoded it."))
            else:  # it says on stderr what kept it from starting
                self.end()
                asyncio.get_running_loop().call_later(_PAUSE_S, self.start)
            return
        self.ready.set()
        self._quiet()
        for result in results:
            pixels = self._pixels[self._place].copy() if result is None else RefusedError(*result)
            self._place += 1
            self._jobs.popleft().done(pixels)
        if self._jobs:
            self._watch()
        else:
            self._decoders.feed()

    def _watch(self) -> None:
        self._alarm = asyncio.get_running_loop().call_later(self._settings.decode_s, self._late)

    def _quiet(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _late(self) -> None:
        if self._pipe.poll():  # the service slept, not the process
            return
        self._fail(RefusedError(504, f"The picture took longer to decode than {self._settings.decode_s:g} s."))

    def _fail(self, refusal: RefusedError) -> None:
        """Replace the process; the picture that it was at is refused, and the rest of the group decoded elsewhere."""
        self.end()
        culprit = self._jobs.popleft() if self._jobs else None
        rest = list(self._jobs)
        self._jobs.clear()
        self._decoders.overdue(rest)
        self.start()
        if culprit is not None:
            culprit.done(refusal)
        self._decoders.feed()
