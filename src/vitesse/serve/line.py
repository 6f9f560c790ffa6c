"""The way of a picture through the service: taken in while there is room, decoded, computed with others, answered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from vitesse.deploy.answers import Pixels, Shares
from vitesse.measure import usable_cores
from vitesse.serve.batching import Batcher
from vitesse.serve.decoding import Decoders, Job
from vitesse.serve.metrics import Metrics
from vitesse.serve.model import Model
from vitesse.serve.refusal import RefusedError
from vitesse.serve.settings import ServeSettings


class Line:
    """What is in the house, and how much may be. To be made and used within one event loop."""

    def __init__(self, model: Model, settings: ServeSettings, metrics: Metrics) -> None:
        preprocess = model.about.preprocess
        self._queue = settings.queue
        self._taken = 0
        self._decoding = 0
        self._closed = False
        self._empty = asyncio.Event()
        self._empty.set()
        metrics.images_taken.set_function(lambda: self._taken)
        self._decoders = Decoders(
            preprocess,
            settings,
            workers=settings.decode_workers or usable_cores(),
            replaced=metrics.decoders_replaced.inc,
        )
        self._batcher = Batcher(
            model.runtime,
            (preprocess.channels, *preprocess.size),
            max_batch=settings.max_batch,
            max_wait_ms=settings.max_wait_ms,
            coming=lambda: self._decoding > 0,
            ran=metrics.batch_ran,
        )

    async def start(self) -> None:
        """Make everything ready; VitesseError where that fails."""
        await self._decoders.start()

    async def close(self) -> None:
        """Take in nothing more, finish what was taken, and end the processes and the thread."""
        self._closed = True
        await self._empty.wait()
        self._decoders.stop()
        self._batcher.stop()

    @contextmanager
    def room(self, images: int) -> Iterator[None]:
        """Room for so many images as long as the context lasts; refused where there is none, or the line is closed."""
        if self._closed:
            raise RefusedError(503, "The service is ending.")
        if self._taken + images > self._queue:
            raise RefusedError(
                429, f"The queue of {self._queue} images has no room for {images} more. Send them again a little later."
            )
        self._count(images)
        try:
            yield
        finally:
            self._count(-images)

    def classify(self, body: bytes) -> asyncio.Future[Shares]:
        """The shares (classes,) of an encoded picture, or the refusal that says what is wrong with it."""
        answer: asyncio.Future[Shares] = asyncio.get_running_loop().create_future()

        def decoded(pixels: Pixels | RefusedError) -> None:
            self._decoding -= 1
            if not isinstance(pixels, RefusedError):
                self._batcher.put(pixels, answer)
            elif not answer.cancelled():
                answer.set_exception(pixels)

        self._decoding += 1
        self._decoders.put(Job(body, decoded))
        return answer

    def _count(self, images: int) -> None:
        self._taken += images
        if self._taken:
            self._empty.clear()
        else:
            self._empty.set()
