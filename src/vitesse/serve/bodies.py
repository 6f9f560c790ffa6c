"""What a request brings: one picture as its body, or several as a form's files; read within limits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive

from vitesse.serve.refusal import RefusedError
from vitesse.serve.settings import ServeSettings

_FORM = "multipart/form-data"
_HOW = "Send a picture as the body, with a Content-Type of image/..., or pictures as the files of a form: curl -F image=@FILE"


_LINGER_S = 2.0  # for which a body that was refused is still read


class Incoming:
    """What arrives of a request: an ASGI `receive` that knows whether the body has ended."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.ended = False

    async def __call__(self) -> Message:
        message = await self._receive()
        self.ended = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def forget(self, most: int) -> None:
        """Read the rest of the body, up to so many bytes, and throw it away.

        Where a connection is closed while its client still sends, the client may never see what it was answered.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_S):
                while not self.ended and most > 0:
                    most -= len((await self()).get("body", b""))


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded picture. name: of its file, None where it came as the body."""

    name: str | None
    body: bytes


async def pictures(request: Request, settings: ServeSettings) -> list[Picture]:
    """All pictures of a request, at least one; a refusal where it is none, too large, too slow or damaged."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    form = kind == _FORM
    if not form and kind not in ("", "application/octet-stream") and not kind.startswith("image/"):
        raise RefusedError(415, f"A body of {kind} is no picture. {_HOW}")
    body = await _body(request, settings)
    found = await _files(request, body, settings) if form else [Picture(None, body)]
    for picture in found:
        if not picture.body:
            raise RefusedError(400, f"The picture is empty. {_HOW}").named(picture.name)
    return found


async def _body(request: Request, settings: ServeSettings) -> bytes:
    """The whole body; refused as soon as it is known to be too large."""
    too_large = RefusedError(413, f"The body is larger than {settings.max_body} bytes, the most that is taken.")
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said) > settings.max_body:
        raise too_large
    parts, size = [], 0
    try:
        async with asyncio.timeout(settings.upload_s):
            async for part in request.stream():
                size += len(part)
                if size > settings.max_body:
                    raise too_large
                parts.append(part)
    except TimeoutError:
        raise RefusedError(408, f"The body took longer than {settings.upload_s:g} s to arrive.") from None
    except ClientDisconnect:
        raise RefusedError(400, "The body ended early.") from None
    return b"".join(parts)


async def _files(request: Request, body: bytes, settings: ServeSettings) -> list[Picture]:
    async def whole() -> AsyncGenerator[bytes, None]:
        yield body

    parser = MultiPartParser(request.headers, whole(), max_files=settings.queue, max_fields=settings.queue)
    parser.spool_max_size = settings.max_body  # it is in memory already; nothing is written to a disk
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise RefusedError(400, f"The form cannot be read: {error.message}") from None
    found = []
    for name, value in form.multi_items():
        if not isinstance(value, UploadFile):
            raise RefusedError(400, f"The form's field {name!r} is no file. {_HOW}")
        found.append(Picture(value.filename, await value.read()))
    await form.close()
    if not found:
        raise RefusedError(400, f"The form holds no file. {_HOW}")
    return found
