"""One pass over a source's images: which can be read, which are copies, and their pixels where they fit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from vitesse.data.image import decode, header
from vitesse.data.preprocess import Preprocess, to_square
from vitesse.data.source import Source
from vitesse.errors import VitesseError

Progress = Callable[[int, int, str], None]
T = TypeVar("T")

_CHUNK = 512


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Headers:
    """What is known of the images before decoding them.

    digests: of the encoded bytes, empty where unreadable. shorter: (N,) the shorter sides in pixels, 0 where
    unreadable. grey: no image holds colour. corrupt: what is wrong, by image.
    """

    digests: tuple[bytes, ...]
    shorter: npt.NDArray[np.int64]
    grey: bool
    corrupt: dict[int, str]


def read_headers(source: Source, *, threads: int, progress: Progress | None = None) -> Headers:
    """Hash every image's bytes and read its size, in threads."""

    def look(index: int) -> tuple[bytes, int, bool]:
        data = source.read(index)
        width, height, grey = header(data, source.names[index])
        return hashlib.blake2b(data, digest_size=16).digest(), min(width, height), grey

    seen: list[tuple[bytes, int, bool]] = []
    corrupt: dict[int, str] = {}
    for index, result in _each(
        source, look, range(len(source.names)), threads=threads, progress=progress, note="reading images"
    ):
        if isinstance(result, str):
            corrupt[index] = result
        seen.append((b"", 0, True) if isinstance(result, str) else result)
    return Headers(
        digests=tuple(digest for digest, _, _ in seen),
        shorter=np.array([side for _, side, _ in seen], np.int64),
        grey=all(grey for _, _, grey in seen),
        corrupt=corrupt,
    )


def decode_all(
    source: Source,
    indices: list[int],
    preprocess: Preprocess,
    *,
    keep: bool,
    threads: int,
    progress: Progress | None = None,
) -> tuple[Tensor | None, dict[int, bytes], dict[int, str]]:
    """Decode the images of `indices` in threads: their squares, a digest of each one's pixels, and what is corrupt.

    The squares are uint8 (N, C, SH, SW) over the whole source, None where `keep` is false. The digest is of the upright
    picture at its full size, so that copies are found whatever format or metadata they were saved with.
    """
    squares = (
        torch.zeros(len(source.names), preprocess.channels, *preprocess.square, dtype=torch.uint8) if keep else None
    )

    def look(index: int) -> bytes:
        picture = decode(source.read(index), source.names[index])
        if squares is not None:
            squares[index] = square_of(picture, preprocess, source.names[index])
        return _digest(picture)

    digests: dict[int, bytes] = {}
    corrupt: dict[int, str] = {}
    for index, result in _each(source, look, indices, threads=threads, progress=progress, note="decoding images"):
        if isinstance(result, str):
            corrupt[index] = result
        else:
            digests[index] = result
    return squares, digests, corrupt


def square_of(picture: Image.Image, preprocess: Preprocess, name: str) -> Tensor:
    """As `to_square`, naming the image where it fails."""
    try:
        return to_square(picture, preprocess)
    except VitesseError as error:
        raise VitesseError(f"{name} cannot be used: {error}") from None


def refuse_corrupt(corrupt: dict[int, str], source: Source, *, limit: float) -> tuple[str, ...]:
    """Give a note on the corrupt images; VitesseError where their share is above `limit`."""
    if not corrupt:
        return ()
    first = "\n".join(f"  {corrupt[index]}" for index in sorted(corrupt)[:5])
    total = len(source.names)
    if len(corrupt) > limit * total:
        raise VitesseError(
            f"At most a share of {limit:g} of the images may be unreadable, but {len(corrupt)} of {total} in "
            f"{source.place} are:\n{first}\nMend or remove them, or raise max_corrupt."
        )
    return (f"{len(corrupt)} of {total} images cannot be read and were left out:\n{first}",)


def _digest(picture: Image.Image) -> bytes:
    state = hashlib.blake2b(f"{picture.width}x{picture.height}".encode(), digest_size=16)
    state.update(picture.convert("RGB").tobytes())
    return state.digest()


def _each(
    source: Source,
    look: Callable[[int], T],
    indices: Sequence[int],
    *,
    threads: int,
    progress: Progress | None,
    note: str,
) -> Iterator[tuple[int, T | str]]:
    """Give (index, result) in order, or (index, message) where the image cannot be read."""

    def guarded(index: int) -> T | str:
        try:
            return look(index)
        except VitesseError as error:
            return str(error)
        except OSError as error:
            return f"{source.names[index]} cannot be read: {error.strerror}"

    with ThreadPoolExecutor(max(1, threads)) as pool:
        for start in range(0, len(indices), _CHUNK):
            chunk = indices[start : start + _CHUNK]
            yield from zip(chunk, pool.map(guarded, chunk), strict=True)
            if progress is not None:
                progress(start + len(chunk), len(indices), note)
