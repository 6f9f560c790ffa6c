"""The architecture drawn: an SVG of the residual stream from image to classes, each block's branches as its wings.

Attention opens to the left, one cell a head; everything else opens to the right. What leads into a stage is a row of its own,
marked with an arrow. Two drawings made with one `Scale` may
be compared by eye: a wing twice as long is twice as wide a layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from vitesse.arch import Backbone, Stage
from vitesse.report.wings import Wing, rows_of

WIDTH = 440
SPINE_X = 190  # the middle of the residual stream
LEFT, RIGHT, SPINE = 104, 168, 62  # the longest wings and the widest stream, in pixels
CAP, FOOT = 76, 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """The widest of each kind of bar among the architectures drawn together."""

    left: int
    right: int
    dim: int


def scale_of(archs: Iterable[Backbone]) -> Scale:
    """The scale on which all of `archs` fit."""
    wings: dict[str, int] = {"left": 1, "right": 1}
    dim = 1
    for arch in archs:
        dim = max(dim, *(stage.dim for stage in arch.stages))
        for drawn in (drawn for row in rows_of(arch) for line in row.lines for drawn in line):
            wings[drawn.side] = max(wings[drawn.side], drawn.width)
    return Scale(left=wings["left"], right=wings["right"], dim=dim)


def draw(arch: Backbone, *, name: str, scale: Scale, kind: Literal["winner", "teacher"]) -> str:
    """An inline SVG of `arch`, coloured by the page's style as `kind`; `name` is its accessible title."""
    rows = rows_of(arch)
    # Deep networks get thinner rows, so that the drawing stays on a screen.
    pitch = max(8.0, min(21.0, 620 / max(sum(len(row.lines) for row in rows), 1)))
    parts = [_stem(arch, scale), *(_heads(row.lines, dim=arch.stages[0].dim, scale=scale) for row in rows[:1])]
    y, number = float(CAP), 0
    for s, stage in enumerate(arch.stages):
        own = [row for row in rows if row.stage == s]
        heights = [pitch * len(row.lines) for row in own]
        parts.append(_stream(stage.dim, y=y, height=sum(heights), scale=scale))
        if stage.group > 1:
            ways = sum(not row.block for row in own)
            parts += _groups(stage, heights[ways:], first=number + 1, y=y + sum(heights[:ways]))
        for row in own:
            number += row.block
            for line, wings in enumerate(row.lines):
                label = (str(number) if row.block else "↓") if line == 0 else ""
                parts.append(_row(wings, label=label, dim=stage.dim, y=y, pitch=pitch, scale=scale))
                y += pitch
    parts.append(_foot(arch, y=y, scale=scale))
    depth = f"{number} block{'s' if number != 1 else ''}"
    widths = ", ".join(str(stage.dim) for stage in arch.stages)
    label = escape(f"{name}: {widths} wide, {depth}, {arch.head.classes} classes", quote=True)
    return (
        f'<svg class="arch {kind}" viewBox="0 0 {WIDTH} {y + FOOT:.0f}" role="img" aria-label="{label}">'
        f"{''.join(parts)}</svg>"
    )


def _groups(stage: Stage, heights: list[float], *, first: int, y: float) -> list[str]:
    """A bracket around each group of blocks that share their weights."""
    brackets = []
    for start in range(0, stage.depth, stage.group):
        height = sum(heights[start : start + stage.group])
        title = f"blocks {first + start} to {first + start + stage.group - 1} share their weights"
        path = f"M24 {y + 2:.1f} h-4 v{height - 4:.1f} h4"
        brackets.append(f'<path class="group" d="{path}"><title>{title}</title></path>')
        y += height
    return brackets


def _heads(lines: Sequence[Sequence[Wing]], *, dim: int, scale: Scale) -> str:
    """What the numbers beside the wings are, over the first block's."""
    half = _spine(dim, scale) / 2
    places = {"left": SPINE_X - half - 4, "right": SPINE_X + half + 4}
    heads = {drawn.side: drawn.head for line in reversed(lines) for drawn in line}
    return "".join(
        f'<text class="{side} faint" x="{places[side]:.1f}" y="{CAP - 9}">{escape(head)}</text>'
        for side, head in heads.items()
    )


def _row(wings: Sequence[Wing], *, label: str, dim: int, y: float, pitch: float, scale: Scale) -> str:
    half = _spine(dim, scale) / 2
    bar = pitch - max(2.0, pitch * 0.24)
    middle = y + pitch / 2
    written = pitch >= 13
    parts = [f'<text class="number" x="4" y="{middle + 3.5:.1f}">{label}</text>' if written else ""]
    for drawn in wings:
        longest, widest = (LEFT, scale.left) if drawn.side == "left" else (RIGHT, scale.right)
        length = max(3.0, longest * drawn.width / widest)
        start = SPINE_X - half - 3 - length if drawn.side == "left" else SPINE_X + half + 3
        parts.append(_cells(drawn, x=start, y=middle - bar / 2, length=length, height=bar))
        if written:
            end = start - 6 if drawn.side == "left" else start + length + 6
            parts.append(
                f'<text class="{drawn.side}" x="{end:.1f}" y="{middle + 3.5:.1f}">{escape(drawn.label)}</text>'
            )
    title = escape("; ".join(drawn.title for drawn in wings))
    return f"<g><title>{title}</title>{''.join(parts)}</g>"


def _cells(drawn: Wing, *, x: float, y: float, length: float, height: float) -> str:
    """A wing's bar: one rectangle a cell, with a hair of space between them where there is room for it."""
    step = length / drawn.cells
    gap = min(1.5, step * 0.2) if drawn.cells > 1 else 0.0
    kind = "attention" if drawn.side == "left" else "hidden"
    return "".join(
        f'<rect class="{kind}" x="{x + step * cell:.2f}" y="{y:.2f}" width="{step - gap:.2f}" height="{height:.2f}"'
        f' rx="{min(2.5, height / 3, (step - gap) / 2):.2f}"/>'
        for cell in range(drawn.cells)
    )


def _spine(dim: int, scale: Scale) -> float:
    return max(5.0, SPINE * dim / scale.dim)


def _stream(dim: int, *, y: float, height: float, scale: Scale) -> str:
    width = _spine(dim, scale)
    return (
        f'<rect class="stream" x="{SPINE_X - width / 2:.2f}" y="{y - 4:.2f}" width="{width:.2f}"'
        f' height="{height + 8:.2f}" rx="3"><title>residual stream, {dim} wide</title></rect>'
    )


def _stem(arch: Backbone, scale: Scale) -> str:
    """The image with its patches above the stream: what goes in, and how wide it becomes."""
    stem, dim = arch.stem, arch.stages[0].dim
    down, over = stem.reduction
    (rows, columns), side = stem.image, 30.0
    height, width = side * min(1, rows / columns), side * min(1, columns / rows)
    x, y = SPINE_X - width / 2, 8 + (side - height)
    lines = "".join(
        f'<line x1="{x + width * part / 4:.1f}" y1="{y:.1f}" x2="{x + width * part / 4:.1f}" y2="{y + height:.1f}"/>'
        f'<line x1="{x:.1f}" y1="{y + height * part / 4:.1f}" x2="{x + width:.1f}" y2="{y + height * part / 4:.1f}"/>'
        for part in (1, 2, 3)
    )
    half = _spine(dim, scale) / 2
    funnel = f"M{x:.1f} {8 + side + 3} h{width:.1f} L{SPINE_X + half:.1f} {CAP - 7} h{-2 * half:.1f} Z"
    grid = stem.grid
    extra = f" + {grid.extra}" if grid.extra else ""
    return (
        f'<g class="stem"><title>a token for {down} × {over} pixels</title>'
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="2"/>{lines}'
        f'<path d="{funnel}"/></g>'
        f'<text class="left" x="{SPINE_X - 40}" y="22">{rows} × {columns} × {stem.channels}</text>'
        f'<text class="left faint" x="{SPINE_X - 40}" y="37">patches {down} × {over}</text>'
        f'<text class="right" x="{SPINE_X + 40}" y="22">{dim} wide</text>'
        f'<text class="right faint" x="{SPINE_X + 40}" y="37">{grid.patches}{extra} tokens</text>'
    )


def _foot(arch: Backbone, *, y: float, scale: Scale) -> str:
    half = _spine(arch.stages[-1].dim, scale) / 2
    top, wide = y + 8, 36.0
    pool = escape(f"pool: {arch.head.pool}")
    path = f"M{SPINE_X - half:.1f} {top:.1f} h{2 * half:.1f} L{SPINE_X + wide:.1f} {top + 14:.1f} h{-2 * wide:.1f} Z"
    return (
        f'<g class="head"><path d="{path}"/>'
        f'<rect x="{SPINE_X - wide:.1f}" y="{top + 16:.1f}" width="{2 * wide:.1f}" height="16" rx="3"/></g>'
        f'<text class="left faint" x="{SPINE_X - wide - 8:.1f}" y="{top + 28:.1f}">{pool}</text>'
        f'<text class="right" x="{SPINE_X + wide + 8:.1f}" y="{top + 28:.1f}">{arch.head.classes} classes</text>'
    )
