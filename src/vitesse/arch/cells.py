"""A cell as a value: a small graph of operations (DARTS, Liu et al., ICLR 2019, section 2.1).

A cell sees the outputs of the two cells before it, states 0 and 1. Each of its nodes, states 2, 3, ..., is the sum of its
edges: an operation on an earlier state. Its output is some of its nodes side by side, along the channels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vitesse.arch.choice import every, require
from vitesse.arch.convolution import conv_norm, statistics
from vitesse.arch.operation import Table

INPUTS = 2  # states that come from outside
# In the published order (CDARTS, Yu et al., TPAMI 2022), which is that of a search's scores.
OPERATIONS = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
NONE = "none"  # what an edge is in a search where it is no edge; last in the order


@dataclass(frozen=True, slots=True)
class Edge:
    """An operation on the state of number `source`: 0 is the output of the cell before the last, 1 that of the last."""

    operation: str
    source: int

    def __post_init__(self) -> None:
        require(
            self,
            operation=(self.operation in OPERATIONS, f"must be one of {', '.join(OPERATIONS)}"),
            source=(every(self.source, int, 0), "must be an integer of at least 0"),
        )


@dataclass(frozen=True, slots=True)
class Cell:
    """Nodes, each a tuple of edges from earlier states, and the numbers of the nodes that are its output (`concat`).

    A reduction cell is the same graph: there the operations on states 0 and 1 have stride 2.
    """

    nodes: tuple[tuple[Edge, ...], ...]
    concat: tuple[int, ...] = field(default=())

    def __post_init__(self) -> None:
        nodes: Any = self.nodes
        good = isinstance(nodes, (tuple, list)) and len(nodes) > 0
        good = good and all(isinstance(edges, (tuple, list)) and len(edges) > 0 for edges in nodes)
        good = good and all(isinstance(edge, Edge) for edges in nodes for edge in edges)
        require(self, nodes=(good, "must be one tuple of Edges or more"))
        object.__setattr__(self, "nodes", tuple(tuple(edges) for edges in nodes))
        object.__setattr__(self, "concat", tuple(self.concat) or tuple(range(INPUTS, self.states)))
        for n, edges in enumerate(self.nodes):
            late = [edge.source for edge in edges if edge.source >= INPUTS + n]
            if late:
                raise ValueError(
                    f"A node sees earlier states alone, but node {INPUTS + n} has an edge from state {late[0]}. "
                    f"Take a source below {INPUTS + n}."
                )
        inside = all(every(one, int, INPUTS, self.states - 1) for one in self.concat)
        require(
            self,
            concat=(
                inside and len(set(self.concat)) == len(self.concat),
                f"must name different nodes, from {INPUTS} to {self.states - 1}",
            ),
        )

    @property
    def states(self) -> int:
        """The number of its states: the two that it is given and its nodes."""
        return INPUTS + len(self.nodes)


@dataclass(frozen=True, slots=True)
class Genotype:
    """The two cells of a network: the one that keeps the map, and the one that halves it."""

    normal: Cell
    reduce: Cell

    def __post_init__(self) -> None:
        for name in ("normal", "reduce"):
            require(self, **{name: (isinstance(getattr(self, name), Cell), "must be a Cell")})


def kernel_of(operation: str) -> int:
    """The side of the window that an operation sees, dilation left out; 1 for a skip."""
    return int(operation[-1]) if operation[-1].isdigit() else 1


def units_of(operation: str) -> int:
    """How many pairs of a depthwise and a pointwise convolution an operation is."""
    return {"sep": 2, "dil": 1}.get(operation.partition("_")[0], 0)


def operation_axes(operation: str, stride: int, *, affine: bool) -> Table:
    """The parameters of an operation on `channel` channels; a skip of stride 2 is a factorized reduction."""
    if operation == "skip_connect" and stride > 1:
        return reduction_axes("channel", affine=affine)
    table: Table = {}
    for prefix in _prefixes(operation):
        table |= {f"{prefix}depthwise.weight": "channel, 1, kernel, kernel"}
        table |= projection_axes(f"{prefix}pointwise", "channel", affine=affine)
    return table


def operation_buffers(operation: str, stride: int) -> Table:
    """The running statistics of the same."""
    if operation == "skip_connect" and stride > 1:
        return reduction_buffers()
    table: Table = {}
    for prefix in _prefixes(operation):
        table |= statistics(f"{prefix}pointwise", "channel")
    return table


def _prefixes(operation: str) -> tuple[str, ...]:
    """The names of its pairs of convolutions: a lone one has none."""
    units = units_of(operation)
    return ("",) * units if units < 2 else tuple(f"{unit}." for unit in range(units))


def projection_axes(name: str, into: str, *, affine: bool) -> Table:
    """A 1x1 convolution to `channel` channels with its batch normalization, which may have no factors of its own."""
    table = conv_norm(name, f"channel, {into}, 1, 1")
    return table if affine else {key: axes for key, axes in table.items() if ".norm." not in key}


def reduction_axes(into: str, *, affine: bool) -> Table:
    """A factorized reduction: two 1x1 convolutions of stride 2, each to half of the channels, and one normalization."""
    table = {f"{side}.weight": f"half, {into}, 1, 1" for side in ("even", "odd")}
    return table | ({"norm.weight": "channel", "norm.bias": "channel"} if affine else {})


def reduction_buffers() -> Table:
    """The running statistics of the same."""
    return {name.removeprefix("."): axes for name, axes in statistics("", "channel").items()}
