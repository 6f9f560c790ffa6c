"""The bundled digits: scikit-learn's 1,797 handwritten digits of 8x8 pixels, to try everything without a download."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vitesse.data.source import FREE, Source


@dataclass(frozen=True, slots=True, eq=False)
class _Pictures:
    pixels: npt.NDArray[np.uint8]  # (N, 8, 8)

    def __call__(self, index: int) -> bytes:
        # Portable greymap: raw pixels behind one line, so the bytes are the same with every version of every library.
        pixels: bytes = self.pixels[index].tobytes()
        return b"P5 8 8 255\n" + pixels


def open_digits() -> Source:
    """Open the bundled digits; their values 0..16 become 0..255."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    return Source(
        place="digits",
        classes=tuple(str(digit) for digit in range(10)),
        names=tuple(f"digit-{number:04d}" for number in range(len(pixels))),
        labels=bunch.target.astype(np.int64),
        given=np.full(len(pixels), FREE, np.int8),
        read=_Pictures(pixels),
    )
