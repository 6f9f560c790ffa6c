"""One record: the K most probable classes of one view and their probabilities, in a fixed number of bytes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from vitesse.errors import UsageError

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

Values = Literal["float16", "uint8"]
FLOAT16: Final = "float16"
UINT8: Final = "uint8"
_CODES = 255
SEED_BYTES = 4
# How far a stored probability may be from the teacher's own: half a step of the type at its widest, near 1.
BOUNDS = {FLOAT16: 2.0**-12, UINT8: (_CODES - 0.25) / _CODES**2}


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """How a record lies in bytes: [seed int32] | K classes uint16 or uint32 | K values, all little-endian.

    classes: of the teacher. top: K. values: "float16", or "uint8" for the square root of the probability in steps of
    1/255. seeds: whether each record carries the seed of its own augmentation (only converted stores do).
    """

    classes: int
    top: int
    values: Values = FLOAT16
    seeds: bool = False

    def __post_init__(self) -> None:
        if not 2 <= self.classes <= 2**32:
            raise UsageError(f"A teacher tells at least 2 classes and at most 2**32, but got {self.classes}.")
        if not 1 <= self.top <= self.classes:
            raise UsageError(
                f"top must hold 1 <= top <= classes, but got top {self.top} of {self.classes} classes. Choose a smaller --top."
            )
        if self.values not in BOUNDS:
            raise UsageError(f"values must be {' or '.join(BOUNDS)}, but got {self.values!r}.")

    @property
    def class_type(self) -> np.dtype[np.unsignedinteger[npt.NBitBase]]:
        """The type of a class number."""
        return np.dtype("<u2" if self.classes <= 2**16 else "<u4")

    @property
    def value_type(self) -> np.dtype[np.generic]:
        """The type of a stored value."""
        return np.dtype("<f2" if self.values == FLOAT16 else "u1")

    @property
    def edges(self) -> tuple[int, int, int]:
        """The bytes at which the classes begin, the values begin, and the record ends."""
        start = SEED_BYTES if self.seeds else 0
        middle = start + self.top * self.class_type.itemsize
        return start, middle, middle + self.top * self.value_type.itemsize

    @property
    def width(self) -> int:
        """The bytes of a record."""
        return self.edges[2]

    def encode(self, classes: npt.ArrayLike, probabilities: npt.ArrayLike, seeds: npt.ArrayLike | None = None) -> Bytes:
        """Bring classes (n, K), probabilities (n, K) in 0..1 and, where records have them, seeds (n,) to (n, width)."""
        classes, probabilities = np.asarray(classes), np.asarray(probabilities, np.float32)
        start, middle, end = self.edges
        rows = np.empty((len(classes), end), np.uint8)
        rows[:, start:middle] = np.ascontiguousarray(classes, self.class_type).view(np.uint8)
        if self.values == UINT8:
            stored = np.rint(np.sqrt(probabilities) * _CODES).astype(np.uint8)
        else:
            stored = np.ascontiguousarray(probabilities, self.value_type).view(np.uint8)
        rows[:, middle:] = stored
        if self.seeds:
            rows[:, :start] = np.ascontiguousarray(seeds, "<i4").reshape(-1, 1).view(np.uint8)
        return rows

    def decoder(self) -> Callable[[Bytes], tuple[Ints, Floats]]:
        """Make the inverse of `encode`: from (n, width) to classes (n, K) int64 and probabilities (n, K) float32.

        Values are looked up in a table, which takes a third of the time of NumPy's conversion from float16.
        """
        start, middle, _ = self.edges
        class_type, value_type = self.class_type, self.value_type
        means = _bytes() if self.values == UINT8 else _halves()
        code_type = f"<u{value_type.itemsize}"

        def decode(rows: Bytes) -> tuple[Ints, Floats]:
            codes = rows[:, middle:].view(code_type)
            # Every code means something, so none is out of bounds; "wrap" only spares the look at it.
            return rows[:, start:middle].view(class_type).astype(np.int64), means.take(codes, mode="wrap")

        return decode

    def seeds_of(self, rows: Bytes) -> npt.NDArray[np.int32]:
        """The augmentation seeds (n,) of records (n, width) that carry them."""
        if not self.seeds:
            raise UsageError("The records of this store carry no seeds of their own: its views follow from its recipe.")
        return rows[:, :SEED_BYTES].view("<i4")[:, 0].astype(np.int32)


@functools.cache
def _halves() -> Floats:
    """What each of the 65,536 float16 is as float32."""
    return np.arange(2**16, dtype="<u2").view("<f2").astype(np.float32)


@functools.cache
def _bytes() -> Floats:
    """What each code of "uint8" stands for."""
    shares: Floats = (np.arange(_CODES + 1, dtype=np.float32) / np.float32(_CODES)) ** 2
    return shares
