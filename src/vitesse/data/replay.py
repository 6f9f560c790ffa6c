"""Random numbers that are a function of where they are used: (seed, epoch, sample, draw), not of what was drawn before.

So any step of any epoch can be drawn again after a restart, on any number of ranks, in any order. The source is a
chain of splitmix64 finalisers (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014), vectorised
over samples.
"""

from __future__ import annotations

import enum

import numpy as np
import numpy.typing as npt

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MASK = (1 << 64) - 1


class Stream(enum.IntEnum):
    """What a number is drawn for: numbers of two streams have nothing to do with each other."""

    ORDER = 1
    AUGMENT = 2
    ERASE = 3
    MIX = 4
    SAMPLE = 5
    SPLIT = 6
    CUTOUT = 7


def hashes(
    seed: int, epoch: int, indices: npt.ArrayLike, *, draws: int = 1, stream: Stream = Stream.AUGMENT
) -> npt.NDArray[np.uint64]:
    """Give uniform 64-bit numbers, shape (n, draws), for the n samples of `indices`."""
    key = _absorb(_absorb(_absorb(np.zeros(1, np.uint64), seed), int(stream)), epoch)
    samples = np.atleast_1d(np.asarray(indices)).astype(np.uint64)
    rows = _finalise(key ^ _finalise(samples + _GOLDEN))[:, None]  # (n, 1)
    return _finalise(rows + np.arange(1, draws + 1, dtype=np.uint64)[None, :] * _GOLDEN)  # (n, draws)


def uniform(
    seed: int, epoch: int, indices: npt.ArrayLike, draws: int, *, stream: Stream = Stream.AUGMENT
) -> npt.NDArray[np.float64]:
    """Give uniform numbers in [0, 1), shape (n, draws), for the n samples of `indices`."""
    bits = hashes(seed, epoch, indices, draws=draws, stream=stream) >> np.uint64(11)
    return bits.astype(np.float64) * 2.0**-53


def permutation(seed: int, epoch: int, count: int, *, stream: Stream = Stream.ORDER) -> npt.NDArray[np.int64]:
    """Give the order of `count` samples in an epoch, shape (count,)."""
    return np.argsort(hashes(seed, epoch, np.arange(count), stream=stream)[:, 0], kind="stable").astype(np.int64)


def _absorb(key: npt.NDArray[np.uint64], value: int) -> npt.NDArray[np.uint64]:
    return _finalise(key ^ _finalise(np.array([value & _MASK], np.uint64) + _GOLDEN))


def _finalise(z: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The output function of splitmix64: a bijection in which each bit of the input moves half of the output."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
