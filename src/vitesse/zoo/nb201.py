"""NAS-Bench-201 (Dong and Yang, ICLR 2020): the network around a cell, and a space of a single cell for small images."""

from __future__ import annotations

from typing import cast

from vitesse.arch import (
    Backbone,
    Block,
    Choice,
    ConvStem,
    Head,
    NB201Cell,
    NormAct,
    ResidualDownsample,
    Stage,
)
from vitesse.arch.nb201 import EDGES, KINDS, Kind

SMALL_KINDS: tuple[Kind, ...] = ("skip_connect", "avg_pool_3x3", "nor_conv_3x3")


def nb201(
    cell: NB201Cell, *, cells: int = 5, width: int = 16, stages: int = 3, image: int = 32, channels: int = 3,
    classes: int = 10,
) -> Backbone:  # fmt: skip
    """The network that repeats a cell: stages of `cells` of them, each twice as wide as the one before (section 2.1)."""
    last = (Block(cell),) * (cells - 1) + (Block(cell, NormAct()),)
    return Backbone(
        stem=ConvStem(image=(image, image), channels=channels, layers=1, stride=1),
        stages=tuple(
            Stage(
                dim=width * 2**s,
                depth=cells,
                block=last if s == stages - 1 else Block(cell),
                down=ResidualDownsample() if s else None,
            )
            for s in range(stages)
        ),
        head=Head(classes=classes, pool="mean", norm=None),
    )


def nb201_cell_space(
    kinds: tuple[Kind, ...] = KINDS, *, width: int = 16, image: int = 32, channels: int = 3, classes: int = 10
) -> Backbone:
    """The space of networks with one cell, each of whose edges may be any of `kinds`."""
    edges = tuple(Choice(*kinds) for _ in EDGES)
    return nb201(
        NB201Cell(edges=edges), cells=1, stages=1, width=width, image=image, channels=channels, classes=classes
    )


def the_cell(arch: Backbone) -> NB201Cell:
    """The first cell of a network of cells."""
    return cast(NB201Cell, arch.stages[0].blocks[0].branches[0])
