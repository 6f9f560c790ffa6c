"""A trained network for images of another size: what it learned by place is interpolated (bicubic) before it is tuned."""

from __future__ import annotations

from dataclasses import replace

from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor
from torch.nn import functional

from vitesse.arch import (
    Arch,
    Backbone,
    Block,
    CascadedAttention,
    CellNetwork,
    ContinuousPosition,
    Grid,
    ShiftedWindowAttention,
    WindowAttention,
    seeing,
    tensors,
)
from vitesse.errors import VitesseError
from vitesse.nets import Network, build
from vitesse.weights.slice import lengths


def at_resolution(network: Network, size: tuple[int, int]) -> Network:
    """The same network for images of (height, width) pixels, in the same mode; windows grow or shrink with the map.

    Those of a cascaded attention become as large as the largest of the network, or as the map where it is smaller.

    VitesseError for a size that the stem cannot take.
    """
    arch: Arch = network.arch
    share = size[0] / arch.stem.image[0]
    try:
        other = seeing(arch, image=size)
    except ValueError as error:
        raise VitesseError(f"The network cannot see images of {size} pixels: {error}") from error
    if isinstance(other, CellNetwork):
        return with_windows(network, other)
    assert isinstance(arch, Backbone)

    every_branch = [one for stage in arch.stages for block in stage.blocks for one in block.branches]
    largest = max([one.window for one in every_branch if isinstance(one, CascadedAttention)], default=1)

    def scaled(block: Block, grid: Grid) -> Block:
        branches = list(block.branches)
        for k, one in enumerate(branches):
            if isinstance(one, WindowAttention):
                branches[k] = replace(one, window=max(1, round(one.window * share)))
            elif isinstance(one, ShiftedWindowAttention):
                branches[k] = replace(_settled(one), window=max(1, round(one.window * share)))
            elif isinstance(one, CascadedAttention):
                branches[k] = replace(one, window=min(largest, grid.rows, grid.columns))
        return Block(*branches)

    stages = (
        replace(stage, block=tuple(scaled(block, grid) for block in stage.blocks))
        for stage, grid in zip(arch.stages, other.grids, strict=True)
    )
    return with_windows(network, replace(other, stages=tuple(stages)))


def _settled(attention: ShiftedWindowAttention) -> ShiftedWindowAttention:
    """The same attention, whose function of offsets goes on to see them as it does now when its windows change."""
    position = attention.position
    if isinstance(position, ContinuousPosition) and position.window is None:
        return replace(attention, position=replace(position, window=attention.window))
    return attention


def with_windows(network: Network, arch: Arch) -> Network:
    """The network of `arch`, which differs from `network`'s in image and windows alone, in the same mode.

    Tables of biases and absolute positions are interpolated (bicubic), as the published codes do for another resolution.
    VitesseError where anything else differs.
    """
    if not _alike(network.arch, arch):
        raise VitesseError("The other network may differ in its image and its windows alone, but it differs in more.")
    shapes = {name: lengths(shape) for name, shape in tensors(arch).items()}
    state = network.state_dict()
    resized = {
        name: resized_table(one, shapes[name]) if name.endswith(".offset_bias") else one for name, one in state.items()
    }
    if "stem.position" in state and isinstance(arch, Backbone):
        resized["stem.position"] = _resized_positions(state["stem.position"], network.arch, arch)
    other = build(arch).to(next(network.parameters()))
    other.load_state_dict(resized)
    other.class_names = network.class_names
    if network.preprocess is not None:
        other.preprocess = replace(network.preprocess, size=arch.stem.image)
    return other.train(network.training)


def resized_table(table: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A table of biases (heads, window * window) for another window."""
    old, new = (round(length**0.5) for length in (table.shape[1], shape[1]))
    if old == new:
        return table
    grid = table.float().unflatten(1, (old, old))[None]  # (1, heads, window, window)
    resized = functional.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False)
    return resized[0].flatten(1).to(table.dtype)


def _resized_positions(positions: Tensor, old: Backbone, new: Backbone) -> Tensor:
    """Absolute positions (tokens, embed) for another map; those of extra tokens stay."""
    before, after = old.stem.grid, new.stem.grid
    resized: Tensor = resample_abs_pos_embed(
        positions[None],
        new_size=[after.rows, after.columns],
        old_size=[before.rows, before.columns],
        num_prefix_tokens=len(positions) - before.patches,
    )
    return resized[0]


def _alike(one: Arch, other: Arch) -> bool:
    """Whether two networks differ in image and windows alone."""
    if isinstance(one, CellNetwork) or isinstance(other, CellNetwork):
        return type(one) is type(other) and seeing(other, image=one.stem.image) == one

    def bare(block: Block) -> Block:
        settled = (_settled(b) if isinstance(b, ShiftedWindowAttention) else b for b in block.branches)
        windowed = (WindowAttention, ShiftedWindowAttention, CascadedAttention)
        return Block(*(replace(b, window=1) if isinstance(b, windowed) else b for b in settled))

    def whole(arch: Backbone) -> Backbone:
        stages = tuple(replace(stage, block=tuple(map(bare, stage.blocks))) for stage in arch.stages)
        return seeing(replace(arch, stages=stages), image=one.stem.image)

    return type(one.stem) is type(other.stem) and whole(one) == whole(other)
