"""The cell of NAS-Bench-201 (Dong and Yang, ICLR 2020, section 2.1) and what stands between its cells, as values."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, get_args

from vitesse.arch.choice import options, require
from vitesse.arch.convolution import conv_norm, statistics
from vitesse.arch.operation import Down, Grid, Operation, Table

Kind = Literal["none", "skip_connect", "avg_pool_3x3", "nor_conv_1x1", "nor_conv_3x3"]
KINDS: tuple[Kind, ...] = get_args(Kind)  # from the smallest to the largest
KERNELS: dict[str, int] = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}
# Where each edge comes from and leads to, in the order of the published text; node 0 is the cell's input, node 3 its output.
EDGES = tuple((source, node) for node in range(1, 4) for source in range(node))


@dataclass(frozen=True, kw_only=True, slots=True)
class NB201Cell(Operation):
    """Four nodes, each the sum of what the edges from all nodes before it bring; the last one takes the stream's place.

    `edges`: the operation of each of the 6 edges, in the order of `EDGES`: "none" (zeros), "skip_connect" (the identity),
    "avg_pool_3x3", or a convolution (ReLU, convolution, batch normalization). An edge that is a tuple holds all of these
    operations and mixes them: so a supernet has the weights of each.
    """

    map_only: ClassVar[bool] = True
    residual = False

    edges: tuple[Kind | tuple[Kind, ...], ...]

    def __post_init__(self) -> None:
        if isinstance(self.edges, list):
            object.__setattr__(self, "edges", tuple(self.edges))
        good = isinstance(self.edges, tuple) and len(self.edges) == len(EDGES)
        require(self, edges=(good and all(map(_known, self.edges)), f"must be {len(EDGES)} operations among {KINDS}"))

    @classmethod
    def from_text(cls, text: str) -> NB201Cell:
        """The cell of its published text, `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`; ValueError where it is none."""
        pairs = re.findall(r"\|([a-z0-9_]+)~(\d)(?=\|)", text)
        if [int(source) for _, source in pairs] != [source for source, _ in EDGES]:
            raise ValueError(f"A cell is written |op~0|+|op~0|op~1|+|op~0|op~1|op~2|, but got {text!r}.")
        cell = cls(edges=tuple(kind for kind, _ in pairs))
        if cell.text != text:
            raise ValueError(f"This cell would be written {cell.text}, but got {text!r}.")
        return cell

    @property
    def text(self) -> str:
        """The published text of a cell that is decided and mixes nothing."""
        nodes = [
            "".join(f"|{kind}~{source}" for kind, (source, into) in zip(self.edges, EDGES, strict=True) if into == node)
            for node in range(1, 4)
        ]
        return "+".join(f"{node}|" for node in nodes)

    @property
    def held(self) -> NB201Cell:
        """The cell that has the weights of every operation that is open."""
        return replace(self, edges=tuple(_all(edge) for edge in self.edges))

    def kinds(self) -> list[tuple[str, str]]:
        """The operations of every edge as (edge's number, operation)."""
        return [(str(e), kind) for e, edge in enumerate(self.edges) for kind in mixed(edge)]

    def axes(self) -> Table:
        table: Table = {}
        for e, kind in self.kinds():
            if kind in KERNELS:
                side = "kernel, kernel" if KERNELS[kind] > 1 else "1, 1"
                table |= conv_norm(f"edges.{e}.{kind}", f"embed, embed, {side}")
        return table

    def buffers(self) -> Table:
        table: Table = {}
        for e, kind in self.kinds():
            table |= statistics(f"edges.{e}.{kind}", "embed") if kind in KERNELS else {}
        return table

    def sizes(self, embed: int) -> dict[str, int]:
        return {"embed": embed, "kernel": 3}

    def macs(self, embed: int, grid: Grid) -> int:
        return sum(grid.tokens * embed**2 * KERNELS.get(kind, 0) ** 2 for _, kind in self.kinds())

    def working_set(self, embed: int, grid: Grid) -> int:
        """The input, the two nodes between, and the output as it grows."""
        return 4 * grid.tokens * embed


@dataclass(frozen=True, kw_only=True, slots=True)
class NormAct(Operation):
    """Batch normalization and ReLU in the stream's place: what NAS-Bench-201 ends in before it pools."""

    map_only: ClassVar[bool] = True
    residual = False

    def axes(self) -> Table:
        return {"norm.weight": "embed", "norm.bias": "embed"}

    def buffers(self) -> Table:
        return {f"norm.{part}": axes for part, axes in _STATISTICS.items()}

    def sizes(self, embed: int) -> dict[str, int]:
        return {"embed": embed}

    def macs(self, embed: int, grid: Grid) -> int:
        return 0

    def working_set(self, embed: int, grid: Grid) -> int:
        return grid.tokens * embed


@dataclass(frozen=True, kw_only=True, slots=True)
class ResidualDownsample(Down):
    """Halves the map by a basic block of a ResNet: two times ReLU, 3x3, batch normalization (the first of stride 2),
    added to the mean of 2 x 2 neighbours through a 1x1 convolution. A side that is odd is rounded up.
    """

    stride = 2

    def axes(self) -> Table:
        return (
            conv_norm("first", "hidden, previous, kernel, kernel")
            | conv_norm("second", "embed, hidden, kernel, kernel")
            | {"shortcut.weight": "embed, previous, 1, 1"}
        )

    def buffers(self) -> Table:
        return statistics("first", "hidden") | statistics("second", "embed")

    def sizes(self, previous: int, embed: int) -> dict[str, int]:
        return {"previous": previous, "hidden": embed, "embed": embed, "kernel": 3}

    def macs(self, previous: int, embed: int, before: Grid) -> int:
        return self.grid(before).tokens * embed * (9 * previous + 9 * embed + previous)

    def working_set(self, previous: int, embed: int, before: Grid) -> int:
        return 3 * self.grid(before).tokens * embed


_STATISTICS = {"running_mean": "embed", "running_var": "embed", "num_batches_tracked": ""}


def mixed(edge: Any) -> tuple[str, ...]:
    """The operations that an edge which is decided holds: one, or several that it mixes."""
    return edge if isinstance(edge, tuple) else (edge,)


def _known(edge: Any) -> bool:
    if isinstance(edge, tuple):
        return len(edge) > 1 and len(set(edge)) == len(edge) and all(kind in KINDS for kind in edge)
    return all(isinstance(kind, str) and kind in KINDS for kind in options(edge))


def _all(edge: Any) -> Any:
    found = options(edge)
    return found if len(found) > 1 else found[0]
