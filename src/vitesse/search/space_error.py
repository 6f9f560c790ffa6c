"""The E-T error of a space (Chen et al., "Searching the Search Space of Vision Transformer", NeurIPS 2021), with its error.

Everything here is about the errors (N,) of networks drawn from a space, and about weights, which say how much each counts:
of 1 for all, of a part of them, or of several resamples of them (B, N) at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RESAMPLES = 400


@dataclass(frozen=True, kw_only=True, slots=True)
class SpaceError:
    """What networks of a space err by: on average, the best of them, and the mean of both; each with its standard error.

    The standard errors are those of drawing `networks` of the space, by bootstrap; that of the images, which are the same
    for all networks, is not in them.
    """

    networks: int
    expected: float
    top: float
    both: float
    expected_error: float
    top_error: float
    both_error: float


def space_error(errors: Sequence[float], *, top: float, seed: int = 0) -> SpaceError:
    """The expected error, the mean error of the best share `top` (of 1), and the mean of both (the E-T error)."""
    values = np.asarray(errors, dtype=np.float64)
    whole = expected_and_top(values, np.ones((1, len(values))), top=top)
    drawn = expected_and_top(values, resampled(len(values), seed=seed), top=top)
    expected, best = (float(value[0]) for value in whole)
    spread = [float(value.std()) for value in (*drawn, (drawn[0] + drawn[1]) / 2)]
    return SpaceError(
        networks=len(values), expected=expected, top=best, both=(expected + best) / 2,
        expected_error=spread[0], top_error=spread[1], both_error=spread[2],
    )  # fmt: skip


def expected_and_top(errors: Floats, weights: Floats, *, top: float) -> tuple[Floats, Floats]:
    """The mean error and that of the best share `top` by weight, for each row of weights (B, N); NaN where nothing counts.

    The best networks count in whole until the share is full, the last one of them in part.
    """
    order = np.argsort(errors, kind="stable")
    ranked, counts = errors[order], weights[:, order]  # (N,), (B, N)
    reached = np.cumsum(counts, axis=1)
    total = reached[:, -1:]
    room = np.clip(top * total - (reached - counts), 0.0, counts)
    with np.errstate(invalid="ignore"):
        return (counts @ ranked) / total[:, 0], (room @ ranked) / (top * total[:, 0])


def resampled(networks: int, *, seed: int) -> Floats:
    """How often each network is drawn in each bootstrap resample: (B, N), each row of sum N."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(networks, np.full(networks, 1 / networks), size=RESAMPLES).astype(np.float64)
