"""What follows from the value of a network of cells: its parameters, its running statistics, its cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vitesse.arch.axes import Axis, Shape, buffers, count, parameters, part_parameters, shapes
from vitesse.arch.cell_network import CellNetwork, CellStem, Place
from vitesse.arch.cells import (
    Cell,
    kernel_of,
    operation_axes,
    operation_buffers,
    projection_axes,
    reduction_axes,
    reduction_buffers,
    units_of,
)
from vitesse.arch.convolution import statistics
from vitesse.arch.cost import BYTES, Cost, cost
from vitesse.arch.operation import Grid


@parameters.register
def _(arch: CellNetwork) -> dict[str, Shape]:
    table = shapes("stem", arch.stem.axes(), arch.stem.sizes())
    for place, cell in zip(arch.places, arch.cells, strict=True):
        table |= _input_parameters(place, affine=arch.affine)
        for name, operation, stride in _operations(place, cell):
            table |= shapes(name, operation_axes(operation, stride, affine=arch.affine), _sizes(place, operation))
    if arch.auxiliary is not None:
        dim = arch.stages[arch.auxiliary.stage].dim
        table |= shapes("auxiliary", arch.auxiliary.axes(), arch.auxiliary.sizes(dim, arch.head.classes))
    last = arch.stages[-1].dim
    return table | part_parameters("head", arch.head, last, (Axis(f"stages.{len(arch.stages) - 1}.embed", last),))


@buffers.register
def _(arch: CellNetwork) -> dict[str, Shape]:
    table = shapes("stem", arch.stem.buffers(), arch.stem.sizes())
    for place, cell in zip(arch.places, arch.cells, strict=True):
        for i, width in enumerate(place.before):
            known = reduction_buffers() if _reduces(place, i) else statistics("project", "channel")
            table |= shapes(f"{place.name}.inputs.{i}", known, _input_sizes(place, width))
        for name, operation, stride in _operations(place, cell):
            table |= shapes(name, operation_buffers(operation, stride), _sizes(place, operation))
    if arch.auxiliary is not None:
        dim = arch.stages[arch.auxiliary.stage].dim
        table |= shapes("auxiliary", arch.auxiliary.buffers(), arch.auxiliary.sizes(dim, arch.head.classes))
    return table


@cost.register
def _(arch: CellNetwork) -> Cost:
    """Of the network as it is served: the auxiliary head is stored, but never runs."""
    macs, alive = _stem_cost(arch.stem)
    for place, cell in zip(arch.places, arch.cells, strict=True):
        more_macs, working_set = _cell_cost(place, cell)
        macs, alive = macs + more_macs, max(alive, working_set)
    macs += arch.head.macs(arch.stages[-1].dim)
    params = count(parameters(arch))
    return Cost(params=params, macs=macs, memory_bytes=BYTES * (params + alive))


def _input_parameters(place: Place, *, affine: bool) -> dict[str, Shape]:
    """The parameters of what brings the two maps that a cell sees to its own width, and the first to the second's size."""
    table: dict[str, Shape] = {}
    for i, width in enumerate(place.before):
        axes = (
            reduction_axes("before", affine=affine)
            if _reduces(place, i)
            else projection_axes("project", "before", affine=affine)
        )
        table |= shapes(f"{place.name}.inputs.{i}", axes, _input_sizes(place, width))
    return table


def _reduces(place: Place, number: int) -> bool:
    return place.halved and number == 0


def _input_sizes(place: Place, width: int) -> Mapping[str, int]:
    return {"before": width, "channel": place.channels, "half": place.channels // 2}


def _operations(place: Place, cell: Cell) -> Iterator[tuple[str, str, int]]:
    """The module name, the operation and the stride of every edge."""
    for n, edges in enumerate(cell.nodes):
        for e, edge in enumerate(edges):
            yield f"{place.name}.nodes.{n}.{e}", edge.operation, place.stride(edge.source)


def _sizes(place: Place, operation: str) -> dict[str, int]:
    return {"channel": place.channels, "half": place.channels // 2, "kernel": kernel_of(operation)}


def _stem_cost(stem: CellStem) -> tuple[int, int]:
    """Multiply-adds, and the most elements alive at once."""
    macs, before, most = 0, stem.image[0] * stem.image[1] * stem.channels, 0
    for grid, into, out in stem.layers():
        macs += grid.tokens * into * out * 9
        most = max(most, before + grid.tokens * out)
        before = grid.tokens * out
    return macs, most


def _cell_cost(place: Place, cell: Cell) -> tuple[int, int]:
    """Multiply-adds, and the most elements alive at once: the two maps, all states, and those within an operation."""
    channels, grid, after = place.channels, place.grid, place.after
    # A factorized reduction makes half of the channels with each of two convolutions, on a quarter of the places.
    macs = sum(grid.tokens * width * channels for width in place.before)
    within = 0
    for _, operation, stride in _operations(place, cell):
        macs += _operation_macs(operation, channels, after, stride)
        within = max(within, 2 * channels * after.tokens if units_of(operation) else 0)
    first = place.before[0] * grid.tokens * (4 if place.halved else 1)
    states = channels * (2 * grid.tokens + len(cell.nodes) * after.tokens)
    return macs, first + place.before[1] * grid.tokens + states + within


def _operation_macs(operation: str, channels: int, after: Grid, stride: int) -> int:
    if operation == "skip_connect" and stride > 1:
        return after.tokens * channels**2
    return after.tokens * channels * (kernel_of(operation) ** 2 + channels) * units_of(operation)
