"""When a batch begins, and who is in it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from vitesse.deploy.runtime import Images, Logits
from vitesse.serve.batching import Batcher

LONG, SHAPE = 1e9, (1, 2, 2)


class Counting:
    """A runtime whose logits tell which image they are of; it waits for leave to begin."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.leave = threading.Event()
        self.leave.set()
        self.fail = False

    def run(self, images: Images) -> Logits:
        assert self.leave.wait(60)
        self.batches.append(len(images))
        if self.fail:
            raise MemoryError("no room")
        return np.stack([images.mean((1, 2, 3)), -images.mean((1, 2, 3))], 1) * 255

    def bind(self, images: Images) -> Callable[[], object]:
        raise NotImplementedError


def played(scene: Callable[[Batcher, Counting, list[bool]], Awaitable[None]], **settings: Any) -> Counting:
    """Play a scene with a batcher of at most 4; `coming[0]` says whether an image is on its way."""
    runtime, coming = Counting(), [False]

    async def play() -> None:
        given = {"max_batch": 4, "max_wait_ms": LONG, **settings}
        batcher = Batcher(runtime, SHAPE, coming=lambda: coming[0], ran=lambda images, seconds: None, **given)
        try:
            await asyncio.wait_for(scene(batcher, runtime, coming), 60)
        finally:
            batcher.stop()

    asyncio.run(play())
    return runtime


def put(batcher: Batcher, value: int) -> asyncio.Future[Any]:
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    batcher.put(np.full(SHAPE, value, np.uint8), answer)
    return answer


def odds(value: int) -> float:
    return 1 / (1 + np.exp(-2.0 * value))


def test_a_lone_image_waits_for_nothing() -> None:
    async def scene(batcher: Batcher, runtime: Counting, coming: list[bool]) -> None:
        assert (await put(batcher, 1))[0] == pytest.approx(odds(1), rel=1e-6)

    assert played(scene).batches == [1]


def test_it_waits_while_others_come_until_the_batch_is_full() -> None:
    async def scene(batcher: Batcher, runtime: Counting, coming: list[bool]) -> None:
        coming[0] = True
        answers = [put(batcher, value) for value in range(3)]
        await asyncio.sleep(0.02)
        assert not any(answer.done() for answer in answers)
        answers.append(put(batcher, 3))
        for value, answer in enumerate(answers):
            assert (await answer)[0] == pytest.approx(odds(value), rel=1e-6)

    assert played(scene).batches == [4]


def test_the_last_one_on_its_way_starts_the_batch() -> None:
    async def scene(batcher: Batcher, runtime: Counting, coming: list[bool]) -> None:
        coming[0] = True
        first = put(batcher, 1)
        coming[0] = False
        await asyncio.gather(first, put(batcher, 2))

    assert played(scene).batches == [2]


@pytest.mark.parametrize("wait", [0.0, 5.0])
def test_the_wait_has_an_end(wait: float) -> None:
    async def scene(batcher: Batcher, runtime: Counting, coming: list[bool]) -> None:
        coming[0] = True
        await put(batcher, 1)

    assert played(scene, max_wait_ms=wait).batches == [1]


def test_what_comes_while_the_network_runs_is_next_together() -> None:
    async def scene(batcher: Batcher, runtime: Counting, coming: list[bool]) -> None:
        runtime.leave.clear()
        answers = [put(batcher, value) for value in range(7)]
        runtime.leave.set()
        await asyncio.gather(*answers)

    assert played(scene).batches == [1, 4, 2]


def test_a_failure_is_everybody_s_of_the_batch_and_nobody_else_s() -> None:
    async def scene(batcher: Batcher, runtime: Counting, coming: list[bool]) -> None:
        runtime.fail = True
        with pytest.raises(MemoryError):
            await put(batcher, 1)
        runtime.fail = False
        given_up = put(batcher, 2)
        given_up.cancel()
        await put(batcher, 3)

    assert played(scene).batches[0] == 1
