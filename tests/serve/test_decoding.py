"""Decoding processes: what happens to the others where one picture takes its process with it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from vitesse.data import Preprocess
from vitesse.serve.decoding import Decoders, Job
from vitesse.serve.settings import ServeSettings

PREPROCESS = Preprocess(size=(8, 8))
SETTINGS = ServeSettings(max_body=100_000, decode_s=60.0)


def replies(count: int) -> tuple[list[asyncio.Future[Any]], list[Callable[[Any], None]]]:
    futures: list[asyncio.Future[Any]] = [asyncio.get_running_loop().create_future() for _ in range(count)]
    return futures, [future.set_result for future in futures]


def test_a_broken_process_costs_the_others_nothing(picture: Callable[..., bytes]) -> None:
    async def scene() -> None:
        replaced: list[int] = []
        decoders = Decoders(PREPROCESS, SETTINGS, workers=1, replaced=lambda: replaced.append(1))
        lane = decoders._lanes[0]
        await decoders.start()
        try:
            (first, second, third), tell = replies(3)
            os.kill(lane._process.pid, signal.SIGSTOP)
            decoders.put(Job(picture(1), tell[0]))  # goes to the process at once
            decoders.put(Job(picture(2), tell[1]))  # these two wait
            decoders.put(Job(picture(3), tell[2]))
            os.kill(lane._process.pid, signal.SIGKILL)
            assert (await first).status == 400 and "broke the process" in (await first).sentence
            assert lane._pipe.poll(60)  # the next process is ready, and the loop has not heard it yet
            os.kill(lane._process.pid, signal.SIGSTOP)
            while len(lane._jobs) < 2:
                await asyncio.sleep(0.01)
            os.kill(lane._process.pid, signal.SIGKILL)  # in the middle of a group
            assert (await second).status == 400
            assert (await third).shape == (3, 8, 8)
            assert replaced == [1, 1]
        finally:
            decoders.stop()

    asyncio.run(scene())


def test_an_idle_process_that_dies_is_replaced(picture: Callable[..., bytes]) -> None:
    async def scene() -> None:
        decoders = Decoders(PREPROCESS, SETTINGS, workers=2, replaced=lambda: None)
        await decoders.start()
        try:
            for lane in decoders._lanes:
                os.kill(lane._process.pid, signal.SIGKILL)
                lane._process.join()
            futures, tell = replies(5)
            for seed, told in enumerate(tell):
                decoders.put(Job(picture(seed), told))
            found = await asyncio.gather(*futures)
            # Those that were just being handed to a dead process are refused, the others decoded.
            assert sum(not hasattr(one, "shape") for one in found) <= 2
            assert found[-1].shape == (3, 8, 8)
        finally:
            decoders.stop()

    asyncio.run(scene())


def test_a_service_that_slept_blames_no_picture(picture: Callable[..., bytes]) -> None:
    async def scene() -> None:
        decoders = Decoders(PREPROCESS, ServeSettings(decode_s=0.5, max_body=100_000), workers=1, replaced=lambda: None)
        await decoders.start()
        try:
            (answer,), tell = replies(1)
            decoders.put(Job(picture(), tell[0]))
            assert decoders._lanes[0]._pipe.poll(60)
            time.sleep(0.6)  # the limit passes, and the answer lies in the pipe
            assert (await answer).shape == (3, 8, 8)
        finally:
            decoders.stop()

    asyncio.run(scene())
