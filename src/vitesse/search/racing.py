"""Racing: candidates are scored block by block, and one that can no longer matter is scored no further."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vitesse.arch import Backbone
from vitesse.errors import UsageError

B = TypeVar("B")


def race(
    evaluate: Callable[[Sequence[Backbone], B], Sequence[NDArray[np.bool_]]],
    archs: Sequence[Backbone],
    blocks: Sequence[B],
    *,
    keep: int,
    z: float = 1.5,
) -> list[float]:
    """The accuracy of each architecture, in their order: exact for the finishers, an estimate for those dropped.

    `evaluate(archs, block)` says for each network and each image of a block whether it has it right, always in one order;
    it is given all that still run, so that it can share work among them. After each block a candidate is dropped when
    it is more than `z` standard errors below the `keep`-th best one, by their paired difference on the images so far.
    At z = 1.5 about three quarters of the images are used.

    A dropped candidate's estimate is its rival's score less their paired difference when it was dropped, so that
    an easy first block flatters nobody. It is never as high as the score of any candidate that ran to the end.
    """
    if keep < 1 or z <= 0 or not blocks:
        raise UsageError(
            "A race needs keep of at least 1, z above 0 and at least one block of images, "
            f"but got keep={keep}, z={z}, {len(blocks)} blocks."
        )
    hits: list[list[NDArray[np.bool_]]] = [[] for _ in archs]
    running = list(range(len(archs)))
    dropped: list[tuple[int, int, float]] = []  # (candidate, its rival, how far below), in the order of dropping
    for number, block in enumerate(blocks):
        for place, right_ones in zip(running, evaluate([archs[place] for place in running], block), strict=True):
            hits[place].append(np.asarray(right_ones, dtype=bool))
        if number + 1 == len(blocks) or len(running) <= keep:
            continue
        right = {place: np.concatenate(hits[place]).astype(float) for place in running}  # (images so far,)
        rival = sorted(running, key=lambda place: -right[place].mean())[keep - 1]
        behind = {place: _behind(right[rival] - right[place], z) for place in running}
        dropped += [(place, rival, gap) for place, gap in behind.items() if gap is not None]
        running = [place for place in running if behind[place] is None]
    scores = {place: float(np.concatenate(hits[place]).mean()) for place in running}
    ceiling = float(np.nextafter(min(scores.values(), default=0.0), -np.inf))
    for place, rival, gap in reversed(dropped):  # a rival was dropped later than those it outran, or never
        scores[place] = min(max(scores[rival] - gap, 0.0), ceiling)
    return [scores[place] for place in range(len(archs))]


def _behind(difference: NDArray[np.float64], z: float) -> float | None:
    """The mean of a paired difference (images,) where it is beyond `z` standard errors, else None."""
    if len(difference) < 2:
        return None
    gap = float(difference.mean())
    error = float(difference.std(ddof=1)) / len(difference) ** 0.5
    return gap if gap > z * error else None
