"""What a network costs, by formula: parameters, multiply-adds, memory. No network is built."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache, singledispatch

from vitesse.arch.axes import branch_parameters, count, part_parameters
from vitesse.arch.backbone import Backbone, Block, require_closed
from vitesse.arch.operation import Grid

BYTES = 4  # a float32, in which networks are measured and served unless said otherwise


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one image through a network.

    params: numbers that are learned. macs: multiply-adds of convolutions and matrix products, as the operations define
    them (an implementation may need fewer). memory_bytes: parameters and the activations alive at the worst moment,
    in float32, for one image.
    """

    params: int
    macs: int
    memory_bytes: int

    def to_dict(self) -> dict[str, int]:
        return asdict(self)


@singledispatch
def cost(arch: object) -> Cost:
    """Parameters, multiply-adds and memory of the network of `arch` for one image."""
    raise TypeError(f"cost() takes an architecture, but got a {type(arch).__name__}.")


@cost.register
def _(arch: Backbone) -> Cost:
    require_closed(arch, "cost")
    grid, stem, head = arch.stem.grid, arch.stem, arch.head
    first, last = arch.stages[0].dim, arch.stages[-1].dim
    params = count(part_parameters("stem", stem, first, "embed")) + count(part_parameters("head", head, last, "embed"))
    macs = stem.macs(first) + head.macs(last)
    alive = stem.channels * stem.image[0] * stem.image[1] + grid.tokens * first
    for stage in arch.stages:
        for block in stage.blocks:
            more_params, more_macs, working_set = _block_cost(block, stage.dim, grid)
            params, macs = params + more_params, macs + more_macs
            alive = max(alive, grid.tokens * stage.dim + working_set)
    return Cost(params=params, macs=macs, memory_bytes=BYTES * (params + alive))


@lru_cache(maxsize=65536)  # a space has few different blocks, a search asks for thousands of networks made of them
def _block_cost(block: Block, dim: int, grid: Grid) -> tuple[int, int, int]:
    """Parameters, multiply-adds and the greatest working set (elements) of one block."""
    return (
        sum(count(branch_parameters("block", operation, dim, "embed")) for operation in block.branches),
        sum(operation.macs(dim, grid) for operation in block.branches),
        max(operation.working_set(dim, grid) for operation in block.branches),
    )
