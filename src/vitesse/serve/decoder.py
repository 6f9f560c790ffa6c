"""What runs in a process that decodes: pictures by way of shared memory, one after another, until the pipe closes.

Bytes that somebody sent are looked at nowhere else, so that whatever they do to the reader, they do it to a process that
can be killed. The formats are named: Pillow knows others, among them one whose reader starts another program.
"""

from __future__ import annotations

import io
import json
import signal
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from vitesse.data.image import load, reason
from vitesse.data.preprocess import Preprocess, cover, to_pixels
from vitesse.errors import VitesseError
from vitesse.serve.refusal import RefusedError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
GROUP = 16  # pictures that travel together to a process, at most
_FLUSH = 0.002  # seconds between two reports within a group


@dataclass(frozen=True, kw_only=True, slots=True)
class Slab:
    """The memory that the service shares with one decoder: encoded pictures one after another, and their pixels."""

    memory: Any  # a ctypes array of bytes; it can be sent to a process while that is started
    max_body: int
    shape: tuple[int, int, int]  # (C, H, W)

    @staticmethod
    def size(max_body: int, shape: tuple[int, int, int]) -> int:
        """How many bytes it takes."""
        return max_body + GROUP * int(np.prod(shape))

    def bodies(self) -> memoryview:
        """(max_body,)"""
        return memoryview(self.memory).cast("B")[: self.max_body]

    def pixels(self) -> npt.NDArray[np.uint8]:
        """(GROUP, C, H, W)"""
        return np.frombuffer(self.memory, np.uint8)[self.max_body :].reshape(GROUP, *self.shape)


def work(pipe: Connection, slab: Slab, preprocess: Preprocess, max_pixels: int) -> None:
    """Answer each list of lengths with a result for each picture: null, or the status and the sentence of a refusal."""
    import torch

    # A signal to the whole group of processes ends the service, which lets its decoders finish and then closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)
    Image.MAX_IMAGE_PIXELS = max_pixels
    warnings.simplefilter("ignore")  # nobody reads them; what matters is refused
    bodies, pixels = slab.bodies(), slab.pixels()
    pipe.send_bytes(b"[]")  # ready
    while True:
        try:
            lengths = json.loads(pipe.recv_bytes())
        except EOFError:
            return
        results: list[tuple[int, str] | None] = []
        told = time.monotonic()
        for place, data in enumerate(_cut(bodies, lengths)):
            try:
                pixels[place] = _pixels(data, preprocess, max_pixels)
                results.append(None)
            except RefusedError as refusal:
                results.append((refusal.status, refusal.sentence))
            if place + 1 == len(lengths) or time.monotonic() - told > _FLUSH:
                pipe.send_bytes(json.dumps(results).encode())
                results, told = [], time.monotonic()


def _cut(bodies: memoryview, lengths: list[int]) -> Iterator[bytes]:
    start = 0
    for length in lengths:
        yield bytes(bodies[start : start + length])
        start += length


def _pixels(data: bytes, preprocess: Preprocess, max_pixels: int) -> npt.NDArray[np.uint8]:
    """What the network sees of a picture (C, H, W); its format and its size, which the header states, are looked at first."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        _check_size(image.size, preprocess, max_pixels)
        pixels: npt.NDArray[np.uint8] = to_pixels(load(image), preprocess).numpy()
        return pixels
    except UnidentifiedImageError:
        raise RefusedError(415, f"It is no picture of {', '.join(FORMATS)}, or damaged from the start.") from None
    except Image.DecompressionBombError:
        raise RefusedError(413, f"It has too many pixels: at most {max_pixels} are taken.") from None
    except RefusedError:
        raise
    except Exception as error:  # Pillow's readers raise almost any error on damaged bytes
        raise RefusedError(400, f"The picture is damaged: {reason(error)}.") from None


def _check_size(size: tuple[int, int], preprocess: Preprocess, max_pixels: int) -> None:
    """Refuse a picture of (width, height) that has too many pixels, or would have when its shorter side is enlarged."""
    try:
        resized = cover(*size, preprocess.square)
    except VitesseError as error:
        raise RefusedError(413, f"{error}") from None
    for (width, height), what in ((size, "It has"), (resized, "Resized for the network it would have")):
        if width * height > max_pixels:
            raise RefusedError(413, f"{what} {width} x {height} pixels, but at most {max_pixels} are taken.")
