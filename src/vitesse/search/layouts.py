"""How found cells become a network for a budget: how many of them, and how wide."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

from vitesse.arch import Cell, CellNetwork, CellSpace, Edge, Genotype

Fits = Callable[[CellNetwork], bool]
LEAST = 2  # channels of a node of the first stage
DEAREST = "sep_conv_5x5"  # the operation with the most of everything


def laid_out(space: CellSpace, genotypes: tuple[Genotype, ...], fits: Fits) -> CellNetwork | None:
    """The network of these cells for a budget: first as deep, then as wide as `fits`; None where none does.

    Depths go from those of the space's network of found cells down to those of the mixed one, as long as cells that are as
    wide as they were when they were found do not fit. Where they fit in no such depth, they get narrower, and only where
    the narrowest do not fit either is there one cell a stage.
    """
    for depths, channels in _ways(space):
        made = partial(space.network, genotypes, depths=depths)
        if fits(made(channels=channels)):
            return _widest(made, fits, least=channels)
    return None


def dearest(space: CellSpace) -> CellNetwork:
    """The smallest network of the cells that cost the most: where it is within a budget, whatever is found can be."""
    cell = Cell(tuple(tuple(Edge(DEAREST, source) for source in range(space.kept)) for _ in range(space.nodes)))
    stages = len(space.depths)
    return space.network((Genotype(cell, cell),) * stages, depths=(1,) * stages, channels=LEAST)


def _ways(space: CellSpace) -> Iterator[tuple[tuple[int, ...], int]]:
    """Depths with the least channels that they are worth, in the order in which they are tried."""
    more = [found - depth for found, depth in zip(space.found_depths, space.depths, strict=True)]
    steps = max(more)
    for step in range(steps, 0, -1):
        yield (
            tuple(depth + math.ceil(one * step / steps) for depth, one in zip(space.depths, more, strict=True)),
            space.channels,
        )
    yield space.depths, space.channels
    yield space.depths, LEAST
    yield (1,) * len(space.depths), LEAST


def _widest(made: Callable[..., CellNetwork], fits: Fits, *, least: int) -> CellNetwork:
    """The widest that fits, by bisection of its pairs of channels; `least` channels do."""
    low, high = least // 2, least
    while fits(made(channels=2 * high)):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(made(channels=2 * middle)) else (low, middle)
    return made(channels=2 * low)
