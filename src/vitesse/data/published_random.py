"""The random source of TinyViT's published stores: every draw of one view's augmentation comes from one generator.

A published record carries the seed of its view. `PublishedRandom(seed)` draws, in the same order of calls, the same
numbers as the published code drew there. Our own views need none of it: see `vitesse.data.replay`.
Source: Wu et al., TinyViT, 2022 (arXiv 2207.10666), and its released code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

Shape = int | tuple[int, ...]


class PublishedRandom:
    """Numbers as `random` and `numpy.random` would give them, all from one PCG64 generator of that seed.

    Methods with `np_` stand for those of `numpy.random`, the others for those of `random`. Real numbers of an interval and
    whole numbers are made of `random()`, not of the generator's own methods for them.
    """

    def __init__(self, seed: int) -> None:
        self._generator = np.random.Generator(np.random.PCG64(seed))

    def random(self) -> float:
        """A number in [0, 1)."""
        return float(self._generator.random())

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return self.random() * (high - low) + low

    def randint(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return min(math.floor(self.random() * (high - low + 1)) + low, high)

    def gauss(self, mean: float, deviation: float) -> float:
        """A number of the normal distribution."""
        return float(self._generator.normal(mean, deviation))

    @overload
    def np_randint(self, low: int, high: int | None = None, size: None = None) -> int: ...
    @overload
    def np_randint(self, low: int, high: int | None, size: Shape) -> npt.NDArray[np.int64]: ...
    def np_randint(self, low: int, high: int | None = None, size: Shape | None = None) -> int | npt.NDArray[np.int64]:
        """Whole numbers from low to below high; from 0 to below low where high is None."""
        first, beyond = (0, low) if high is None else (low, high)
        if size is None:
            return self.randint(first, beyond - 1)
        count = int(np.prod(size))
        return np.array([self.randint(first, beyond - 1) for _ in range(count)], np.int64).reshape(size)

    def np_rand(self, *shape: int) -> Any:
        """Numbers in [0, 1) of that shape; one number where none is given."""
        return self._generator.random(shape or None)

    def np_normal(self, mean: float = 0.0, deviation: float = 1.0, size: Shape | None = None) -> Any:
        """Numbers of the normal distribution."""
        return self._generator.normal(mean, deviation, size)

    def np_beta(self, a: float, b: float, size: Shape | None = None) -> Any:
        """Numbers of the beta distribution."""
        return self._generator.beta(a, b, size)

    def np_choice(
        self,
        values: int | Sequence[Any] | npt.NDArray[Any],
        size: Shape | None = None,
        replace: bool = True,
        p: Sequence[float] | None = None,
    ) -> Any:
        """Some of the values, or of the numbers below `values`."""
        return self._generator.choice(values, size, replace, p)
