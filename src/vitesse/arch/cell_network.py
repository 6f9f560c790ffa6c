"""A network of cells as a value: a stem, stages of cells, a head (DARTS, Liu et al., ICLR 2019, appendix A).

It is no space: its cells are found by gradients (CDARTS, Yu et al., TPAMI 2022, arXiv 2006.10724), not by closing choices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any, ClassVar, Literal, TypeVar

from vitesse.arch.backbone import DEEPEST, Backbone
from vitesse.arch.cells import Cell, Genotype
from vitesse.arch.choice import QUIET, among, every, require
from vitesse.arch.convolution import conv_norm, statistics
from vitesse.arch.head import Head
from vitesse.arch.operation import Grid, Table


@dataclass(frozen=True, kw_only=True, slots=True)
class CellStem:
    """From images to the two maps that the first cell sees, `dim` channels each.

    stride 1, for small images: one 3x3 convolution, whose map is both. stride 8: three of stride 2, the first half as
    wide; the second one's map is the first input, the third one's, half as large, the second. `image` is (height, width)
    in pixels; one integer stands for a square.
    """

    tokens: ClassVar[tuple[str, ...]] = ()
    first_conv: ClassVar[str] = "stem.convs.0.conv"

    dim: int
    stride: Literal[1, 8] = 1
    image: tuple[int, int] = (32, 32)
    channels: int = 3

    def __post_init__(self) -> None:
        image: Any = self.image
        object.__setattr__(self, "image", (image, image) if isinstance(image, int) else tuple(image))
        require(
            self,
            dim=(every(self.dim, int, 2) and self.dim % 2 == 0, "must be an even integer of at least 2"),
            stride=(among(self.stride, 1, 8), "must be 1 or 8"),
            image=(
                len(self.image) == 2 and all(every(side, int, 1) for side in self.image),
                "must be one integer or (height, width), each at least 1",
            ),
            channels=(every(self.channels, int, 1), "must be an integer of at least 1"),
        )

    @property
    def reduction(self) -> tuple[int, int]:
        """Pixels to a place of the map, down and across."""
        return (self.stride, self.stride)

    @property
    def grid(self) -> Grid:
        """The map that it makes."""
        return self.grid_of(*self.image)

    def grid_of(self, height: int, width: int) -> Grid:
        """The map that it makes of an image of another size."""
        return Grid(height, width).reduced(self.stride)

    @property
    def widths(self) -> tuple[int, ...]:
        """The channels that each convolution gives."""
        return (self.dim,) if self.stride == 1 else (self.dim // 2, self.dim, self.dim)

    def axes(self) -> Table:
        table: Table = {}
        for i in range(len(self.widths)):
            table |= conv_norm(f"convs.{i}", f"{i}.out, {'channels' if not i else f'{i - 1}.out'}, kernel, kernel")
        return table

    def buffers(self) -> Table:
        table: Table = {}
        for i in range(len(self.widths)):
            table |= statistics(f"convs.{i}", f"{i}.out")
        return table

    def sizes(self) -> dict[str, int]:
        return {"channels": self.channels, "kernel": 3} | {f"{i}.out": width for i, width in enumerate(self.widths)}

    def layers(self) -> Iterator[tuple[Grid, int, int]]:
        """Of each convolution the map that it makes and its channels in and out."""
        grid = Grid(*self.image)
        for into, out in zip((self.channels, *self.widths), self.widths, strict=False):
            grid = grid.reduced(1 if self.stride == 1 else 2)
            yield grid, into, out


@dataclass(frozen=True, kw_only=True, slots=True)
class CellStage:
    """`depth` cells, whose nodes have `channels` channels each; where it `halves`, the last is the reduction cell.

    The nodes of the reduction cell have twice as many.
    """

    depth: int
    channels: int
    genotype: Genotype
    halves: bool = False

    def __post_init__(self) -> None:
        require(
            self,
            depth=(every(self.depth, int, 1, DEEPEST), f"must be an integer between 1 and {DEEPEST}"),
            channels=(every(self.channels, int, 2) and self.channels % 2 == 0, "must be an even integer of at least 2"),
            genotype=(isinstance(self.genotype, Genotype), "must be a Genotype"),
            halves=(among(self.halves, True, False), "must be True or False"),
        )

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cell at each position."""
        last = self.genotype.reduce if self.halves else self.genotype.normal
        return (self.genotype.normal,) * (self.depth - 1) + (last,)

    @property
    def dim(self) -> int:
        """The width of its last cell's output."""
        return self.channels * (2 if self.halves else 1) * len(self.cells[-1].concat)


@dataclass(frozen=True, kw_only=True, slots=True)
class AuxiliaryHead:
    """A second classifier on the output of stage `stage` (from 0), which is trained with the network and never served.

    ReLU, average pooling of side `pool` and of this stride, 1x1 to 128, 2x2 to 768, the mean over what is left of the map,
    linear. norm: whether the 2x2 convolution is followed by batch normalization, which the published one for ImageNet
    lacks.
    """

    stage: int = 1
    pool: int = 5
    stride: int = 3
    norm: bool = True

    def __post_init__(self) -> None:
        require(
            self,
            stage=(every(self.stage, int, 0), "must be an integer of at least 0"),
            pool=(every(self.pool, int, 1), "must be an integer of at least 1"),
            stride=(every(self.stride, int, 1), "must be an integer of at least 1"),
            norm=(among(self.norm, True, False), "must be True or False"),
        )

    def axes(self) -> Table:
        table = conv_norm("reduce", "reduced, embed, 1, 1")
        if self.norm:
            table |= conv_norm("expand", "expanded, reduced, side, side")
        else:
            table |= {"expand.weight": "expanded, reduced, side, side"}
        return table | {"classifier.weight": "classes, expanded", "classifier.bias": "classes"}

    def buffers(self) -> Table:
        return statistics("reduce", "reduced") | (statistics("expand", "expanded") if self.norm else {})

    def sizes(self, embed: int, classes: int) -> dict[str, int]:
        return {"embed": embed, "reduced": 128, "expanded": 768, "side": 2, "classes": classes}


@dataclass(frozen=True, kw_only=True, slots=True)
class CellNetwork:
    """A network of cells: stem, stages, head, and where there is one the `auxiliary` head.

    affine: whether the batch normalizations of the cells have factors and shifts of their own; while cells are searched
    for they have none. Without classes there is no auxiliary head.
    """

    stem: CellStem
    stages: tuple[CellStage, ...]
    head: Head
    auxiliary: AuxiliaryHead | None = field(default=None, metadata=QUIET)
    affine: bool = field(default=True, metadata=QUIET)

    def __post_init__(self) -> None:
        stages: Any = self.stages
        object.__setattr__(self, "stages", tuple(stages) if isinstance(stages, list) else stages)
        whole = isinstance(self.stages, tuple) and all(isinstance(stage, CellStage) for stage in self.stages)
        plain = isinstance(self.head, Head) and self.head.pool == "mean" and self.head.norm is None
        require(
            self,
            stem=(isinstance(self.stem, CellStem), "must be a CellStem"),
            stages=(whole and len(self.stages) > 0, "must be a tuple of one CellStage or more"),
            head=(plain, 'must be a Head(pool="mean", norm=None)'),
            auxiliary=(
                self.auxiliary is None
                or (isinstance(self.auxiliary, AuxiliaryHead) and self.auxiliary.stage < len(self.stages)),
                f"must be None or an AuxiliaryHead on one of its {len(self.stages)} stages",
            ),
            affine=(among(self.affine, True, False), "must be True or False"),
        )
        if not self.head.classes:
            object.__setattr__(self, "auxiliary", None)

    @property
    def places(self) -> tuple[Place, ...]:
        """Where each cell stands, in order."""
        rows = [
            Row(f"stages.{s}.cells.{c}", stage.channels, stage.halves and c == stage.depth - 1, len(cell.concat))
            for s, stage in enumerate(self.stages)
            for c, cell in enumerate(stage.cells)
        ]
        return tuple(laid_out(self.stem, rows))

    @property
    def usual_auxiliary(self) -> AuxiliaryHead:
        """The auxiliary head of the published training: before the last stage; the stem says whether for small images."""
        stage = max(len(self.stages) - 2, 0)
        return AuxiliaryHead(stage=stage) if self.stem.stride == 1 else AuxiliaryHead(stage=stage, stride=2, norm=False)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Every cell, in order."""
        return tuple(cell for stage in self.stages for cell in stage.cells)

    @property
    def grids(self) -> tuple[Grid, ...]:
        """The map at the end of each stage."""
        grid, found = self.stem.grid, []
        for stage in self.stages:
            grid = grid.reduced(2) if stage.halves else grid
            found.append(grid)
        return tuple(found)

    @property
    def reductions(self) -> tuple[int, ...]:
        """Pixels to a place of each stage's last map, down the image."""
        halvings = accumulate(int(stage.halves) for stage in self.stages)
        return tuple(self.stem.stride * 2**count for count in halvings)


# A network of any kind.
Arch = Backbone | CellNetwork
A = TypeVar("A", bound=Arch)


def seeing(arch: A, *, image: tuple[int, int], channels: int | None = None) -> A:
    """The same network for images of (height, width) pixels and so many channels; ValueError where it can see none such."""
    stem: Any = replace(arch.stem, image=image, channels=arch.stem.channels if channels is None else channels)
    seen: A = replace(arch, stem=stem)
    return seen


@dataclass(frozen=True, slots=True)
class Row:
    """A cell of a network to be laid out: the name of its module, its stage's channels, whether it halves the map, and of how
    many nodes its output consists.
    """

    name: str
    channels: int
    halves: bool
    outputs: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a cell stands.

    before: the widths of the two maps that it sees. channels: of each of its nodes. grid: the second map; the first is twice
    as large where the cell (or stem) before `halved`. halves: whether its own output is half as large.
    """

    name: str
    before: tuple[int, int]
    channels: int
    grid: Grid
    halved: bool
    halves: bool
    outputs: int

    @property
    def after(self) -> Grid:
        """The map of its nodes."""
        return self.grid.reduced(2) if self.halves else self.grid

    def stride(self, source: int) -> int:
        """The stride of an operation on the state of this number."""
        return 2 if self.halves and source < 2 else 1


def laid_out(stem: CellStem, rows: list[Row]) -> Iterator[Place]:
    """Cells one after the other behind a stem, each of which sees the two before it."""
    widths, grid, halved = (stem.dim, stem.dim), stem.grid, stem.stride > 1
    for row in rows:
        channels = row.channels * (2 if row.halves else 1)
        place = Place(row.name, widths, channels, grid, halved, row.halves, row.outputs)
        yield place
        widths, grid, halved = (widths[1], channels * row.outputs), place.after, row.halves
