"""Bodies that come slowly, or end early, or are refused before they have ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.requests import Request

from vitesse.serve.bodies import Incoming, pictures
from vitesse.serve.refusal import RefusedError
from vitesse.serve.settings import ServeSettings


def part(body: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


class Sender:
    """Plays messages; then nothing more comes."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.left: Iterator[dict[str, Any]] = iter(messages)
        self.sent = 0

    async def __call__(self) -> dict[str, Any]:
        message = next(self.left, None)
        if message is None:
            await asyncio.Event().wait()
        self.sent += 1
        assert message is not None
        return message


def taken(sender: Sender, **settings: Any) -> Any:
    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", b"image/png")], "path": "/predict"}
    return asyncio.run(pictures(Request(scope, Incoming(sender)), ServeSettings(**settings)))


def test_a_body_may_come_in_parts() -> None:
    (picture,) = taken(Sender(part(b"ab", more=True), part(b"", more=True), part(b"c", more=False)))
    assert (picture.name, picture.body) == (None, b"abc")


@pytest.mark.parametrize(
    ("messages", "status"),
    [
        ([part(b"ab", more=True)], 408),
        ([part(b"ab", more=True), {"type": "http.disconnect"}], 400),
        ([part(b"abc", more=True), part(b"de", more=True), part(b"f", more=False)], 413),
    ],
)
def test_a_body_that_is_not_taken(messages: list[dict[str, Any]], status: int) -> None:
    sender = Sender(*messages)
    with pytest.raises(RefusedError) as refused:
        taken(sender, upload_s=0.05, max_body=4)
    assert refused.value.status == status
    assert sender.sent <= 2  # what is too large is read no further


def test_the_rest_of_a_refused_body_is_read_to_a_limit() -> None:
    short, long = Sender(part(b"a", more=True), part(b"b", more=False)), Sender(*[part(b"abcd", more=True)] * 9)
    asyncio.run(Incoming(short).forget(100))
    asyncio.run(Incoming(long).forget(10))
    assert (short.sent, long.sent) == (2, 3)
