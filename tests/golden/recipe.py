"""Weights and inputs of the golden records at published size: drawn anew from a seed, too large to be kept.

The legacy generator is meant: numpy promises that its stream never changes.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def weights(key: str, shape: Sequence[int], kind: str, a: float, b: float) -> NDArray[np.float32]:
    """The tensor of that key: "n" is normal with deviation `a` and mean `b`, "u" uniform in [a, b), "e" the identity on the
    first two axes plus noise of deviation `a`."""
    random = np.random.RandomState((zlib.crc32(key.encode()) + 7919) % 2**32)
    values = {
        "n": lambda: random.standard_normal(shape) * a + b,
        "u": lambda: random.random_sample(shape) * (b - a) + a,
        "e": lambda: random.standard_normal(shape) * a + np.eye(*shape[:2]).reshape(shape),
    }
    return values[kind]().astype(np.float32)


def images(shape: Sequence[int], seed: int) -> NDArray[np.float32]:
    """A batch of noise whose channels differ in brightness."""
    random = np.random.RandomState(seed)
    noise = random.standard_normal(shape) * 0.8
    return (noise + random.standard_normal((*shape[:2], 1, 1)) * 0.7).astype(np.float32)
