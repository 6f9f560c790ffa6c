"""The service bound to an address, until a signal ends it."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType

import uvicorn

from vitesse.errors import UsageError, VitesseError
from vitesse.serve.app import service_app
from vitesse.serve.model import Model
from vitesse.serve.settings import ServeSettings

_CONNECTIONS = 1000  # at once; more are answered by 503
_BACKLOG = 1024


def serve(model: Model, settings: ServeSettings, *, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C, then finish what was taken; `ready(url)` is called when requests are accepted.

    VitesseError where the address cannot be bound or the processes do not start; KeyboardInterrupt where a second
    Ctrl-C did not wait for the end.
    """
    if sys.platform == "win32":
        raise UsageError("vitesse serve needs Linux or macOS: it decodes in processes that are forked.")
    with _bound(settings.host, settings.port) as listener:
        config = uvicorn.Config(
            service_app(model, settings),
            lifespan="on",
            ws="none",
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_CONNECTIONS,
            # Whoever sends a body slowly is refused in this time; so everything that was taken is finished in it.
            timeout_graceful_shutdown=round(settings.upload_s + settings.decode_s) + 10,
        )
        server = _Server(config, ready=lambda: ready(_url(listener)))
        try:
            server.run(sockets=[listener])
        except SystemExit:  # how uvicorn ends where an application does not start
            raise VitesseError("The service did not start; the lines above say why.") from None
    if server.force_exit:
        raise KeyboardInterrupt


class _Server(uvicorn.Server):
    """A server for which a signal is the ordinary end, not one that is raised again afterwards."""

    def __init__(self, config: uvicorn.Config, *, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise VitesseError(
            f"The service cannot listen: {error.strerror}. Choose another --host or --port; --port 0 takes any free one."
        ) from error


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
