"""`vitesse serve`: an exported file as an HTTP service."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from vitesse.arch.budget import parse_bytes, parse_count
from vitesse.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Serve:
    """Serve a network over HTTP: pictures in, classes out, and a page to try it at /.

    Requests that come together are computed together. What is too large, damaged or no picture is refused with a sentence;
    where too much waits, the answer is 429. Ctrl-C or SIGTERM ends the service when it has answered what it has taken, with
    exit code 0; a second Ctrl-C does not wait.

    Examples:
      vitesse serve runs/digits
      vitesse serve flowers.onnx --port 9000 --max-batch 32 --max-wait 10
      curl -F image=@seven.png http://127.0.0.1:8000/predict
      curl -F image=@a.jpg -F image=@b.jpg "http://127.0.0.1:8000/predict?top=1"
      curl --data-binary @seven.png -H "Content-Type: image/png" http://127.0.0.1:8000/predict
      curl http://127.0.0.1:8000/health    (and /card, /metrics)
    """

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The folder of a run, served in the runtime that was found to be the fastest here, or an exported file of Vitesse."""
    host: str = "127.0.0.1"
    """The address to listen on: this machine alone; 0.0.0.0 lets everyone in, and nobody is asked who they are."""
    port: int = 8000
    """The port to listen on; 0 takes a free one."""
    max_batch: int = 16
    """The most images that the network computes together."""
    max_wait: float = 5.0
    """The most milliseconds that an image waits for others that are being decoded; 0 never waits."""
    max_body: str = "20MB"
    """The largest body of one request."""
    max_pixels: str = "25M"
    """The most pixels of one picture."""
    queue: int = 256
    """The most images that are taken in at once; more are answered by 429."""
    upload_seconds: float = 30.0
    """The longest that a body may take to arrive."""
    decode_seconds: float = 5.0
    """The longest that one picture may take to decode; then its process is replaced."""
    decode_workers: int | None = None
    """Processes that decode; one for each core where none are given."""
    threads: int | None = None
    """Threads of the network; the runtime's own choice where none are given."""

    def run(self) -> None:
        """Do it."""
        from vitesse.cli.console import Speaker
        from vitesse.serve.settings import ServeSettings

        settings = ServeSettings(
            host=self.host,
            port=self.port,
            max_batch=self.max_batch,
            max_wait_ms=self.max_wait,
            max_body=_limit("--max-body", self.max_body, parse_bytes),
            max_pixels=_limit("--max-pixels", self.max_pixels, parse_count),
            queue=self.queue,
            upload_s=self.upload_seconds,
            decode_s=self.decode_seconds,
            decode_workers=self.decode_workers,
            threads=self.threads,
        )
        try:
            from vitesse.serve.server import serve
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("vitesse"):
                raise
            raise UsageError(
                f"Serving needs {error.name}, which is not installed. Run python -m pip install 'vitesse-ml[serve]'"
            ) from error
        from vitesse.serve.model import load_model

        model, speaker = load_model(self.model, threads=self.threads), Speaker()
        serve(model, settings, ready=lambda url: speaker.say(f"Serving {model.name} on {url} (Ctrl-C ends it)."))
        speaker.say("Ended; everything that was taken is answered.")


def _limit(flag: str, text: str, parse: Callable[[str], int]) -> int:
    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(f"{flag}: {error}") from None
