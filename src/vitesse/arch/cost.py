"""What a network costs, by formula: parameters, multiply-adds, memory. No network is built."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache, singledispatch

from vitesse.arch.axes import Axis, branch_parameters, count, down_parameters, part_parameters
from vitesse.arch.backbone import Backbone, Block, require_closed
from vitesse.arch.choice import Options
from vitesse.arch.conv_stem import ConvStem
from vitesse.arch.head import Head
from vitesse.arch.operation import Down, Grid
from vitesse.arch.patch_embed import PatchEmbed

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
    for stage in arch.stages:
        # What is open within a down or a block is found where it is costed, once.
        way = stage.down if isinstance(stage.down, Options) else None
        require_closed((stage.dim, stage.depth, stage.share, way), "cost")
    params, macs, alive = _ends_cost(arch.stem, arch.head, arch.stages[0].dim, arch.stages[-1].dim)
    before, width = arch.stem.grid, arch.stages[0].dim
    for stage, grid in zip(arch.stages, arch.grids, strict=True):
        if stage.down is not None:
            more_params, more_macs, working_set = _down_cost(stage.down, width, stage.dim, before)
            params, macs = params + more_params, macs + more_macs
            alive = max(alive, before.tokens * width + working_set)
        before, width = grid, stage.dim
        stream = grid.tokens * stage.dim
        for b, block in enumerate(stage.blocks):
            own = None if stage.leader(b) == b else stage.own
            more_params, more_macs, working_set = _block_cost(block, stage.dim, grid, own)
            params, macs = params + more_params, macs + more_macs
            alive = max(alive, stream + working_set)
    return Cost(params=params, macs=macs, memory_bytes=BYTES * (params + alive))


# A space has few different blocks and ends; a search asks for thousands of networks made of them.
@lru_cache(maxsize=65536)
def _block_cost(block: Block, dim: int, grid: Grid, own: tuple[str, ...] | None) -> tuple[int, int, int]:
    """Parameters, multiply-adds and the greatest working set (elements) of one block.

    own: of a block that uses another one's weights, the roles of the parameters that it has for itself.
    """
    require_closed(block, "cost")
    stream = (Axis("embed", dim),)
    return (
        sum(count(branch_parameters("block", operation, dim, stream, own=own)) for operation in block.branches),
        sum(operation.macs(dim, grid) for operation in block.branches),
        max(operation.working_set(dim, grid) for operation in block.branches),
    )


@lru_cache(maxsize=4096)
def _down_cost(down: Down, previous: int, dim: int, before: Grid) -> tuple[int, int, int]:
    """Parameters, multiply-adds and the working set (elements) of what leads into a stage."""
    require_closed(down, "cost")
    return (
        count(down_parameters("down", down, (previous, dim), ((Axis("previous", previous),), (Axis("embed", dim),)))),
        down.macs(previous, dim, before),
        down.working_set(previous, dim, before),
    )


@lru_cache(maxsize=4096)
def _ends_cost(stem: PatchEmbed | ConvStem, head: Head, first: int, last: int) -> tuple[int, int, int]:
    """Parameters, multiply-adds and the elements alive after the stem, of stem and head."""
    require_closed((stem, head), "cost")
    tables = (
        part_parameters("stem", stem, first, (Axis("embed", first),)),
        part_parameters("head", head, last, (Axis("embed", last),)),
    )
    return (
        sum(map(count, tables)),
        stem.macs(first) + head.macs(last),
        stem.working_set(first),
    )
