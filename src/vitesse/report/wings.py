"""What of an architecture is drawn: each branch a wing of the residual stream, each block and each way into a stage a row."""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch
from typing import Literal

from vitesse.arch import (
    MLP,
    Attention,
    Backbone,
    Block,
    CascadedAttention,
    ConvMLP,
    Down,
    LocalConv,
    MBConv,
    ShiftedWindowAttention,
    WindowAttention,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wing:
    """One branch as drawn: a bar of `width` elements in `cells` equal parts, `label` at its end, `head` over the first."""

    side: Literal["left", "right"]
    width: int
    cells: int
    head: str
    label: str
    title: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A block, or what leads into a stage, as drawn: its lines, each with one or two wings, in the order of the branches."""

    stage: int
    lines: tuple[tuple[Wing, ...], ...]
    block: bool


def rows_of(arch: Backbone) -> list[Row]:
    """All that is drawn between stem and head, from the image on."""
    rows = []
    for s, stage in enumerate(arch.stages):
        if stage.down is not None:
            into = way_in(stage.down, arch.stages[s - 1].dim, stage.dim)
            rows.append(Row(stage=s, lines=((into,),), block=False))
        rows += [Row(stage=s, lines=_lines(block, stage.dim), block=True) for block in stage.blocks]
    return rows


def _lines(block: Block, dim: int) -> tuple[tuple[Wing, ...], ...]:
    """A wing to the right stands beside the one to the left before it."""
    lines: list[tuple[Wing, ...]] = []
    for branch in block.branches:
        drawn = wing(branch, dim)
        if lines and [other.side for other in lines[-1]] == ["left"] and drawn.side == "right":
            lines[-1] = (*lines[-1], drawn)
        else:
            lines.append((drawn,))
    return tuple(lines)


@singledispatch
def wing(branch: object, dim: int) -> Wing:
    """How a branch is drawn; an operation without a drawing of its own is a plain bar as wide as the stream."""
    name = type(branch).__name__
    return Wing(side="right", width=dim, cells=1, head="", label=name, title=f"{name}, {dim} wide")


@wing.register
def _(branch: Attention, dim: int) -> Wing:
    width = branch.heads * branch.head_dim
    mixed = ", mixed" if branch.mix else ""
    return _heads(branch.heads, width, f"attention: {branch.heads} heads of {branch.head_dim}, {width} wide{mixed}")


@wing.register(ShiftedWindowAttention)
@wing.register(WindowAttention)
def _(branch: ShiftedWindowAttention | WindowAttention, dim: int) -> Wing:
    windows = f"attention in windows of {branch.window} × {branch.window}"
    return _heads(branch.heads, branch.heads * branch.head_dim, f"{windows}: {branch.heads} heads of {branch.head_dim}")


@wing.register
def _(branch: CascadedAttention, dim: int) -> Wing:
    windows = f"cascade in windows of {branch.window} × {branch.window}"
    return _heads(branch.heads, dim, f"{windows}: {branch.heads} heads, {dim} wide")


@wing.register
def _(branch: ConvMLP, dim: int) -> Wing:
    hidden = branch.hidden(dim)
    return _hidden(hidden, f"convolutions: {hidden} hidden, ratio {branch.ratio:g}")


@wing.register
def _(branch: MBConv, dim: int) -> Wing:
    hidden = branch.hidden(dim)
    gates = ", gated" if branch.squeeze else ""
    return _hidden(hidden, f"MBConv: {hidden} hidden, kernel {branch.kernel}, ratio {branch.ratio:g}{gates}")


@wing.register
def _(branch: LocalConv, dim: int) -> Wing:
    return _hidden(dim, f"local convolution: kernel {branch.kernel}, {dim} wide")


@wing.register
def _(branch: MLP, dim: int) -> Wing:
    hidden = branch.hidden(dim)
    return _hidden(hidden, f"MLP: {hidden} hidden, ratio {branch.ratio:g}")


def way_in(down: Down, previous: int, dim: int) -> Wing:
    """How what leads into a stage is drawn: as wide as it is within."""
    hidden = down.sizes(previous, dim).get("hidden", dim)
    kernel = f", kernel {down.kernel}" if hasattr(down, "kernel") else ""
    gates = ", gated" if getattr(down, "squeeze", False) else ""
    sizes = f"from {previous} to {dim} wide, {hidden} hidden{kernel}, stride {down.stride}{gates}"
    return _hidden(hidden, f"{type(down).__name__}: {sizes}")


def _heads(count: int, width: int, title: str) -> Wing:
    """To the left, one cell a head."""
    return Wing(side="left", width=width, cells=count, head="heads", label=f"{count}", title=title)


def _hidden(width: int, title: str) -> Wing:
    """To the right, one bar."""
    return Wing(side="right", width=width, cells=1, head="hidden", label=f"{width}", title=title)
