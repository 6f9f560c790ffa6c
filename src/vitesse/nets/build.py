"""`build(arch)`: one function makes the network of any architecture."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch

from vitesse.arch import Backbone, CellNetwork
from vitesse.arch.backbone import require_sizes
from vitesse.nets.cells import NetworkOfCells
from vitesse.nets.interface import Network, initialize
from vitesse.nets.network import MakeBlock, MakeDown, NetworkOfBlocks, make_block, make_down


@singledispatch
def build(arch: object, *, drop_path: float | Sequence[float] = 0.0) -> Network:
    """The network of `arch`, freshly initialized.

    `drop_path` is the stochastic-depth rate of the last block, falling linearly to 0 at the first; or one rate a block. In a
    network of cells it is the rate of every edge but a plain skip, the same in all cells (DARTS); or one rate a cell.
    Raises ValueError for a space: close its choices first (`sample(space, rng)`). Choices between operations may stay open:
    then it is the host of a supernet, which holds all candidates and runs none by itself.
    """
    raise TypeError(f"build() takes an architecture, but got a {type(arch).__name__}.")


@build.register
def _(arch: Backbone, *, drop_path: float | Sequence[float] = 0.0) -> Network:
    network = skeleton(arch, drop_path=drop_path)
    initialize(network)
    return network


@build.register
def _(arch: CellNetwork, *, drop_path: float | Sequence[float] = 0.0) -> Network:
    count = len(arch.places)
    rates = [float(drop_path)] * count if isinstance(drop_path, (int, float)) else list(drop_path)[:count]
    if len(rates) < count:
        raise ValueError(f"drop_path must hold one rate for each of the {count} cells, but got {rates}.")
    network = NetworkOfCells(arch, drop_path=rates)
    initialize(network)
    return network


def skeleton(
    arch: Backbone,
    *,
    drop_path: float | Sequence[float] = 0.0,
    block: MakeBlock = make_block,
    down: MakeDown = make_down,
) -> NetworkOfBlocks:
    """The network of `arch` with parameters as their modules make them."""
    require_sizes(arch, "network")
    depth = sum(stage.depth for stage in arch.stages)
    rates = drop_path_rates(drop_path, depth) if isinstance(drop_path, (int, float)) else list(drop_path)[:depth]
    if len(rates) < depth:
        raise ValueError(f"drop_path must hold one rate for each of the {depth} blocks, but got {rates}.")
    return NetworkOfBlocks(arch, drop_path=rates, block=block, down=down)


def drop_path_rates(last: float, depth: int) -> list[float]:
    """Stochastic-depth rates that rise linearly from 0 at the first block to `last` at the last."""
    return [last * b / max(depth - 1, 1) for b in range(depth)]
