"""A network of cells drawn: its cells in a row, and each different cell as the graph that it is.

A node is a box with a row for each of its edges: the number of the state that it works on, and the operation. States 0 and 1
are the two maps that the cell sees. A node with a bar at its right is a part of the cell's output.
"""

from __future__ import annotations

from html import escape
from typing import Literal

from vitesse.arch import Cell, CellNetwork, Edge
from vitesse.report.wording import different_cells

BOX, ROW, TITLE = 88.0, 17.0, 16.0  # the width of a node, the heights of an edge's line and of a node's title
ACROSS, DOWN = 46.0, 16.0  # between two columns, between two nodes in one
INPUT = 30.0
STAGGER = 9.0  # each column begins a little lower than the one before, so that edges that pass it are seen
MARGIN = 10.0
STRIP = 62.0  # the height of the row of cells
_LEARNED = ("sep", "dil")  # operations with weights at any stride


def draw_cells(arch: CellNetwork, *, name: str, kind: Literal["winner", "teacher"]) -> str:
    """An inline SVG of `arch`, coloured by the page's style as `kind`; `name` is its accessible title."""
    drawings = list(different_cells(arch))
    wide = max(_width(cell) for _, cell in drawings)
    parts, y = [_strip(arch, wide)], STRIP + 2 * MARGIN
    for title, cell in drawings:
        parts.append(f'<text class="faint" x="{MARGIN}" y="{y + 12:.1f}">{escape(title)}</text>')
        graph, height = _graph(cell, y + 20)
        parts.append(f'<g class="cell">{graph}</g>')
        y += 20 + height + 2 * MARGIN
    count = len(arch.places)
    label = escape(f"{name}: {count} cells, {arch.stages[-1].dim} wide, {arch.head.classes} classes", quote=True)
    return f'<svg class="arch {kind}" viewBox="0 0 {wide:.0f} {y:.0f}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _strip(arch: CellNetwork, wide: float) -> str:
    """The cells of the network in a row, as high as their nodes are wide; a reduction cell is the darker one."""
    places, base = arch.places, MARGIN + STRIP - 14
    step = (wide - 2 * MARGIN) / len(places)
    most = max(place.channels for place in places)
    bars = []
    for number, place in enumerate(places):
        height = max(4.0, (STRIP - 20) * place.channels / most)
        what = "reduction cell" if place.halves else "normal cell"
        title = f"cell {number + 1}, {what}: {place.channels} channels a node"
        bars.append(
            f"<g><title>{title}, map {place.after.rows} × {place.after.columns}</title>"
            f'<rect class="{"attention" if place.halves else "hidden"}" x="{MARGIN + number * step:.1f}" '
            f'y="{base - height:.1f}" width="{max(2.0, step - 2):.1f}" height="{height:.1f}" rx="2"/></g>'
        )
    rows, columns = arch.stem.image
    told = f"{rows} × {columns} × {arch.stem.channels}, {len(places)} cells, {arch.head.classes} classes"
    return f'{"".join(bars)}<text class="faint" x="{MARGIN}" y="{base + 13:.1f}">{told}</text>'


def _columns(cell: Cell) -> list[int]:
    """Of each state the column in which it stands: one behind the last of those that it sees."""
    found = [0, 0]
    for edges in cell.nodes:
        found.append(1 + max(found[edge.source] for edge in edges))
    return found


def _width(cell: Cell) -> float:
    count = max(_columns(cell))
    return 2 * MARGIN + INPUT + count * (ACROSS + BOX)


def _graph(cell: Cell, top: float) -> tuple[str, float]:
    """The drawing of a cell below `top`, and its height."""
    columns = _columns(cell)
    below = {column: top + STAGGER * max(column - 1, 0) for column in columns}
    exits: list[tuple[float, float]] = []  # of each state the point where its edges leave it
    lines: list[str] = []
    boxes: list[str] = []
    for number, title in enumerate(("the output of the cell before the last", "the output of the last cell")):
        boxes.append(_box(MARGIN, below[0], INPUT, ROW + 4, title))
        boxes.append(_number(number, MARGIN + INPUT / 2 - 3, below[0] + 14))
        exits.append((MARGIN + INPUT, below[0] + (ROW + 4) / 2))
        below[0] += TITLE + 2 * ROW
    for n, edges in enumerate(cell.nodes, start=2):
        x, y = MARGIN + INPUT + columns[n] * ACROSS + (columns[n] - 1) * BOX, below[columns[n]]
        height = TITLE + ROW * len(edges)
        boxes += [_box(x, y, BOX, height, f"node {n}"), _number(n, x + 8, y + 12)]
        if n in cell.concat:
            boxes.append(
                f'<rect class="attention" x="{x + BOX:.1f}" y="{y:.1f}" width="5" height="{height:.1f}" rx="2"/>'
            )
        for e, edge in enumerate(edges):
            middle = y + TITLE + ROW * (e + 0.5)
            boxes.append(_operation(edge, x, middle))
            lines.append(_line(exits[edge.source], (x, middle)))
        exits.append((x + BOX, y + height / 2))
        below[columns[n]] = y + height + DOWN
    return "".join(lines + boxes), max(below.values()) - DOWN - top


def _box(x: float, y: float, width: float, height: float, title: str) -> str:
    return (
        f'<g class="node"><title>{escape(title)}</title><rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
        f'height="{height:.1f}" rx="4"/></g>'
    )


def _number(number: int, x: float, y: float) -> str:
    return f'<text class="number" x="{x:.1f}" y="{y:.1f}">{number}</text>'


def _operation(edge: Edge, x: float, middle: float) -> str:
    learned = edge.operation.startswith(_LEARNED)
    return (
        f"<g><title>{escape(edge.operation)} of state {edge.source}</title>"
        f'<rect class="{"hidden" if learned else "stream"}" x="{x + 3:.1f}" y="{middle - ROW / 2 + 1:.1f}" '
        f'width="{BOX - 6:.1f}" height="{ROW - 3:.1f}" rx="3"/>{_number(edge.source, x + 8, middle + 3.5)}'
        f'<text x="{x + BOX / 2 + 4:.1f}" y="{middle + 3.5:.1f}" text-anchor="middle">{_word(edge.operation)}</text></g>'
    )


def _word(operation: str) -> str:
    """The operation's name in short: `sep 3×3`, `max 3×3`, `skip`."""
    parts = operation.split("_")
    return "skip" if parts[0] == "skip" else f"{parts[0]} {parts[-1].replace('x', '×')}"


def _line(start: tuple[float, float], end: tuple[float, float]) -> str:
    bend = max(18.0, (end[0] - start[0]) / 2)
    (x, y), (to_x, to_y) = start, end
    path = f"M{x:.1f} {y:.1f} C{x + bend:.1f} {y:.1f} {to_x - bend:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}"
    return f'<path class="edge" d="{path}"/>'
