"""The service as an ASGI application: its addresses, and what they answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from vitesse.deploy.answers import Shares, likeliest
from vitesse.serve.bodies import Incoming, Picture, pictures
from vitesse.serve.line import Line
from vitesse.serve.metrics import Metrics
from vitesse.serve.model import Model
from vitesse.serve.page import headers, page
from vitesse.serve.refusal import RefusedError
from vitesse.serve.settings import ServeSettings

TOP = 3  # classes of an answer, where the request does not say


class Service:
    """One network that answers requests, while its application runs."""

    def __init__(self, model: Model, settings: ServeSettings) -> None:
        self._model, self._settings = model, settings
        self._card = {**model.card(), "limits": _limits(settings)}
        self._page, self._page_headers = page(model, settings), headers()
        self._metrics = Metrics()
        self._line: Line  # made when the application starts, as it belongs to an event loop

    def app(self) -> Starlette:
        """The application."""
        return Starlette(
            routes=[
                Route("/", self._show, methods=["GET"]),
                Route("/predict", self._answer, methods=["POST"]),
                Route("/health", self._health, methods=["GET"]),
                Route("/card", self._tell, methods=["GET"]),
                Route("/metrics", self._count, methods=["GET"]),
            ],
            lifespan=self._lifespan,
            exception_handlers={HTTPException: _other},
        )

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        self._line = Line(self._model, self._settings, self._metrics)
        await self._line.start()
        try:
            yield
        finally:
            await self._line.close()

    async def _show(self, request: Request) -> Response:
        return HTMLResponse(self._page, headers=self._page_headers)

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _tell(self, request: Request) -> Response:
        return JSONResponse(self._card)

    async def _count(self, request: Request) -> Response:
        return Response(self._metrics.text(), headers={"content-type": CONTENT_TYPE_LATEST})

    async def _answer(self, request: Request) -> Response:
        """Classify, and count the request whatever comes of it."""
        began, status = time.perf_counter(), 500
        incoming = Incoming(request.receive)
        try:
            response = await self._classified(Request(request.scope, incoming))
            status = response.status_code
        except RefusedError as refusal:
            response, status = _Refused(refusal, incoming, most=self._settings.max_body), refusal.status
        finally:
            self._metrics.answered(status, time.perf_counter() - began)
        return response

    async def _classified(self, request: Request) -> Response:
        top = _top(request.query_params.get("top", str(TOP)))
        with self._line.room(1):
            found = await pictures(request, self._settings)
            with self._line.room(len(found) - 1):
                shares = await self._shares(found)
        classes = self._model.about.classes
        return JSONResponse(
            [
                {"image": picture.name, "classes": likeliest(each, classes, top)}
                for picture, each in zip(found, shares, strict=True)
            ]
        )

    async def _shares(self, found: list[Picture]) -> list[Shares]:
        """The shares of each picture; the first refusal where one is refused, after all have come through."""
        answers = [self._line.classify(picture.body) for picture in found]
        await asyncio.wait(answers)
        failures = [answer.exception() for answer in answers]
        for picture, failure in zip(found, failures, strict=True):
            if isinstance(failure, RefusedError):
                raise failure.named(picture.name)
            if failure is not None:
                raise failure
        return [answer.result() for answer in answers]


class _Refused(JSONResponse):
    """The answer to a request that gets no classes. Where its body has not ended, the connection does after it."""

    def __init__(self, refusal: RefusedError, incoming: Incoming, *, most: int) -> None:
        headers = {"Retry-After": "1"} if refusal.status in (429, 503) else {}
        headers |= {} if incoming.ended else {"Connection": "close"}
        super().__init__({"error": refusal.sentence}, status_code=refusal.status, headers=headers)
        self._incoming, self._most = incoming, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        await self._incoming.forget(self._most)
        await send({"type": "http.response.body", "body": b""})


def _top(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) >= 1):
        raise RefusedError(400, f"top must be a whole number, at least 1, but got {text[:40]!r}.")
    return int(text)


def _limits(settings: ServeSettings) -> dict[str, int]:
    return {name: getattr(settings, name) for name in ("max_body", "max_pixels", "queue")}


async def _other(request: Request, error: Exception) -> Response:
    """An address or a method that does not exist."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": f"{error.detail}."}, status_code=error.status_code, headers=error.headers)


def service_app(model: Model, settings: ServeSettings) -> Starlette:
    """The application that serves a network; it starts its processes when it is started itself."""
    return Service(model, settings).app()
