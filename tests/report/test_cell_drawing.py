from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

from vitesse.arch import Cell, Edge, Genotype
from vitesse.report.cell_drawing import draw_cells
from vitesse.report.wording import described, different_cells
from vitesse.zoo import cdarts_cifar10


def test_every_edge_is_a_row_and_a_line() -> None:
    arch = cdarts_cifar10()
    svg = ElementTree.fromstring(draw_cells(arch, name='a "b" <c>', kind="winner"))
    assert svg.get("aria-label") == 'a "b" <c>: 20 cells, 576 wide, 10 classes'
    titles = [item.text or "" for item in svg.iter("title")]
    assert sum(" of state " in title for title in titles) == 2 * 8
    assert titles.count("sep_conv_3x3 of state 1") == 3 and titles.count("max_pool_3x3 of state 0") == 1
    assert sum(item.get("class") == "edge" for item in svg.iter("path")) == 2 * 8
    assert (
        sum("reduction cell" in title for title in titles) == 2
        and sum("normal cell" in title for title in titles) == 18
    )


def test_everything_lies_inside() -> None:
    deep = Cell(tuple((Edge("skip_connect", n), Edge("dil_conv_3x3", n + 1)) for n in range(6)), concat=(3, 7))
    arch = cdarts_cifar10()
    arch = replace(arch, stages=(replace(arch.stages[0], genotype=Genotype(deep, deep)), *arch.stages[1:]))
    svg = ElementTree.fromstring(draw_cells(arch, name="deep", kind="teacher"))
    _, _, width, height = map(float, (svg.get("viewBox") or "").split())
    for item in svg.iter("rect"):
        x, y, w, h = (float(item.get(name, "nan")) for name in ("x", "y", "width", "height"))
        assert x >= 0 and x + w <= width and y >= 0 and y + h <= height
    bars = [item for item in svg.iter("rect") if item.get("class") == "attention"]
    assert len(bars) == 2 + 2 * 2 + 2 * 4  # reductions in the row of cells, then the output's nodes of four cells


def test_cells_in_words() -> None:
    arch = cdarts_cifar10()
    assert [title for title, _ in different_cells(arch)] == ["normal cell", "reduction cell"]
    words = described(arch)
    assert words[0] == "288 wide, 7 cells of 36 channels a node, the last a reduction" and len(words) == 5
    assert words[3].startswith("normal cell: 2 = sep_conv_3x3(0) + sep_conv_3x3(1), 3 = ")
    other = replace(arch.stages[2], genotype=Genotype(arch.stages[0].genotype.reduce, arch.stages[0].genotype.reduce))
    titles = [title for title, _ in different_cells(replace(arch, stages=(*arch.stages[:2], other)))]
    assert titles == ["normal cell, stages 1, 2", "reduction cell, stages 1, 2", "normal cell, stage 3"]
