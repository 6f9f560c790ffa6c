"""Cream's space for a band of multiply-adds, and the costs of its paths as the published code counts them. No torch."""

from __future__ import annotations

from functools import lru_cache

from vitesse.arch import Backbone, ConvStem, Downsample, Grid, Head, MBConv, PlainConv, Skip, cost
from vitesse.errors import UsageError
from vitesse.zoo.cream import SKIP, STEM, STRIDES, WIDTHS, Path, chain, slots_of

SIDE = 224  # pixels at which paths are costed, whatever a network is run at
MILLION = 1e6
# The order in which stages (from 0) may become deeper, and how deep each may become at its turn.
_TURNS = tuple(zip((2, 3, 4, 1, 0) * 2, (3, 3, 3, 2, 2, 4, 4, 4, 4, 4), strict=True))


def cream_space(
    *, max_flops: float = 600, min_flops: float = 0, classes: int = 1000, image: int | None = None, skip: bool = False
) -> Backbone:
    """The published space for networks of so many million multiply-adds: how deep it is and the size of its images.

    The band says the depth of each stage and the resolution, by the published rule (`band`); within it each layer is one of
    six operations. `image` overrides the resolution; with `skip` a layer may also be left out.
    """
    depths, side = band(max_flops, min_flops)
    return chain(slots_of(depths), classes=classes, image=side if image is None else image, skip=skip)


def band(max_flops: float, min_flops: float = 0) -> tuple[list[int], int]:
    """The depths of the five stages and the side in pixels for a band of million multiply-adds, as published.

    The smallest operations of stages of one layer must fit; else images become smaller, by 32 pixels each time, and the band
    wider by 7 / (side / 32). The published code multiplies these factors, which is kept; the cost falls with the square of
    the side. Then stages become deeper in a fixed order as long as the largest operations fit. UsageError where nothing does.
    """
    table = path_table()
    depths, steps = [1] * len(WIDTHS), SIDE // 32
    least, most = (sum(stage[op][0] for stage in table) for op in (0, -1))
    while least > max_flops:
        steps -= 1
        if steps < 2:
            raise UsageError(f"No network of Cream's space has so few multiply-adds, but max_flops is {max_flops:g}.")
        min_flops, max_flops = min_flops * 7 / steps, max_flops * 7 / steps
    for stage, cap in _TURNS:
        while depths[stage] < cap:
            grown = most + table[stage][-1][1]
            if grown > max_flops and most >= min_flops:
                return depths, 32 * steps
            depths[stage], most = depths[stage] + 1, grown
    if most < min_flops:
        raise UsageError(f"No network of Cream's space has so many multiply-adds, but min_flops is {min_flops:g}.")
    return depths, 32 * steps


@lru_cache(maxsize=1)
def path_table() -> tuple[tuple[tuple[float, float], ...], ...]:
    """[stage][operation]: million multiply-adds of the first layer of a stage and of each later one, at 224 pixels.

    As the published estimate counts: convolutions with their biases, 2 for each element that is normalized, 1 for each that
    a gate averages or rectifies.
    """
    table, previous, grid = [], STEM, Grid(SIDE, SIDE).reduced(2)
    for width, stride, stage in zip(WIDTHS, STRIDES, slots_of([1] * len(WIDTHS))[1:-1], strict=True):
        after = grid.reduced(stride)
        firsts = (_down(layer.down(), previous, width, grid) for layer in stage[0])
        laters = (_block(layer.block(), width, after) for layer in stage[0])
        table.append(tuple((a / MILLION, b / MILLION) for a, b in zip(firsts, laters, strict=True)))
        previous, grid = width, after
    return tuple(table)


def path_flops(path: Path) -> float:
    """Million multiply-adds of a path as the published code estimates them: at 224 pixels, without stem norm and classifier.

    A layer that is left out costs nothing.
    """
    table = path_table()
    layers = sum(
        table[s][op][0 if n == 0 else 1]
        for s, stage in enumerate(path[1:-1])
        for n, op in enumerate(stage)
        if op != SKIP
    )
    return layers + _fixed()


@lru_cache(maxsize=1)
def _fixed() -> float:
    """What all paths have: the stem's convolution, the first and the last layer, pooling, the hidden layer."""
    slots, grid = slots_of([1] * len(WIDTHS)), Grid(SIDE, SIDE)
    early, late = grid.reduced(2), grid.reduced(32)
    head = Head(classes=0, pool="mean", norm=None, norm_first=False, hidden=1280)
    last = slots[-1][0][0]
    total = ConvStem(image=(SIDE, SIDE), layers=1).macs(STEM) + _block(slots[0][0][0].block(), STEM, early)
    total += _down(last.down(), WIDTHS[-1], last.width, late)
    return (total + late.tokens * last.width + head.macs(last.width) + head.hidden) / MILLION


def published_flops(arch: Backbone) -> int:
    """The multiply-adds that Cream and CDARTS publish: of layers, 2 for each element normalized, 1 for each averaged.

    `cost(arch)` counts the layers alone, 4 to 5 percent less. For networks of this family; VitesseError for others.
    """
    total, width, before = cost(arch).macs, arch.stages[0].dim, arch.stem.grid
    total += 2 * before.tokens * width
    for stage, grid in zip(arch.stages, arch.grids, strict=True):
        if stage.down is not None:
            total += _extra(stage.down, width, stage.dim, before, grid)
        total += sum(_extra(one, stage.dim, stage.dim, grid, grid) for block in stage.blocks for one in block.branches)
        width, before = stage.dim, grid
    return total + before.tokens * width


def _extra(value: object, previous: int, embed: int, before: Grid, grid: Grid) -> int:
    """Of one layer 2 for each element that is normalized and 1 for each that a gate averages."""
    if isinstance(value, Skip):
        return 0
    if isinstance(value, PlainConv):
        return 2 * grid.tokens * embed
    assert isinstance(value, (MBConv, Downsample))
    hidden = value.sizes(embed)["hidden"] if isinstance(value, MBConv) else value.sizes(previous, embed)["hidden"]
    normalized = before.tokens * hidden * value.expand + grid.tokens * (hidden + embed)
    return 2 * normalized + grid.tokens * hidden * value.squeeze


def _block(value: MBConv, embed: int, grid: Grid) -> int:
    return value.macs(embed, grid) + _extra(value, embed, embed, grid, grid) + _gate(value.sizes(embed))


def _down(value: Downsample | PlainConv, previous: int, embed: int, before: Grid) -> int:
    after = value.grid(before)
    gate = _gate(value.sizes(previous, embed)) if isinstance(value, Downsample) else 0
    return value.macs(previous, embed, before) + _extra(value, previous, embed, before, after) + gate


def _gate(sizes: dict[str, int]) -> int:
    """The biases of a gate's convolutions, and what it rectifies."""
    return sizes["hidden"] + 2 * sizes["squeeze.hidden"]
