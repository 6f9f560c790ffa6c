"""Which parts of a network to leave in float when the rest becomes int8: found by measuring, with bounded work.

First everything is quantized. Where that loses too much, each of a few parts (runs of consecutive products) is put back
alone and the result measured; where no part is enough, the best of them are put back together, one more each time, until
it loses little enough or half of the parts are in float, beyond which int8 saves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np

from vitesse.deploy.fidelity import Fidelity
from vitesse.errors import VitesseError

PARTS = 8
Parts = tuple[tuple[str, ...], ...]  # each the names of its products


class Quantizer(Protocol):
    """Writes a network in int8, all of it or all but some of its products."""

    products: tuple[str, ...]

    def write(self, target: Path, *, keep: Collection[str] = ()) -> None:
        """Write it to `target`; the products named in `keep` stay in float."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Mixture:
    """What was written: how it compares, and how much of it stayed in float."""

    fidelity: Fidelity
    kept: tuple[str, ...]  # the products in float
    products: int  # of how many
    attempts: int  # how often it was quantized and measured

    @property
    def note(self) -> str:
        """In words; empty where all is int8."""
        return f"{len(self.kept)} of {self.products} products kept in float" if self.kept else ""


def quantize(
    quantizer: Quantizer,
    target: Path,
    *,
    judge: Callable[[Path], Fidelity],
    tolerance: float,
    progress: Callable[[int, int, str], None] | None = None,
) -> Mixture:
    """Write to `target` the network with as little in float as loses at most `tolerance` of the accuracy.

    Where nothing is good enough, what comes closest is written; it is for the caller to refuse it. VitesseError where the
    network has nothing to quantize.
    """
    parts = _parts(quantizer.products)
    if not parts:
        raise VitesseError("Int8 is for matrix products and convolutions, but this network has none.")
    most, tried = 1 + len(parts) + max(len(parts) // 2 - 1, 0), dict[Parts, Fidelity]()

    def enough(*kept: tuple[str, ...]) -> bool:
        """Write and measure it with these parts in float; whether it loses little enough."""
        if progress is not None:
            progress(len(tried), most, f"int8, {len(kept)} of {len(parts)} parts in float")
        quantizer.write(target, keep=_names(kept))
        tried[kept] = judge(target)
        return tried[kept].lost <= tolerance

    if not (enough() or len(parts) == 1 or any(enough(part) for part in parts)):
        ranked = sorted(parts, key=lambda part: tried[part,].rank)
        for count in range(2, len(parts) // 2 + 1):
            if enough(*ranked[:count]):
                break
    kept, fidelity = min(tried.items(), key=lambda one: (max(one[1].lost, tolerance), len(one[0]), one[1].rank))
    if kept != next(reversed(tried)):
        quantizer.write(target, keep=_names(kept))
    return Mixture(fidelity=fidelity, kept=_names(kept), products=len(quantizer.products), attempts=len(tried))


def _names(parts: Parts) -> tuple[str, ...]:
    return tuple(name for part in parts for name in part)


def _parts(products: Sequence[str]) -> list[tuple[str, ...]]:
    """The products as a few runs of consecutive ones, as even as can be."""
    count = min(PARTS, len(products))
    edges = np.linspace(0, len(products), count + 1).round().astype(int)
    return [tuple(products[start:end]) for start, end in pairwise(edges)]
