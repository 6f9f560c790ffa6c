from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree

import pytest

from vitesse.arch import MLP, Attention, Backbone, Block, Head, PatchEmbed, Stage
from vitesse.report.drawing import WIDTH, draw, scale_of
from vitesse.report.wings import wing
from vitesse.zoo import cream_14

BLOCKS = (
    Block(Attention(heads=2, head_dim=32), MLP(ratio=2.0)),
    Block(Attention(heads=3, head_dim=32), MLP(ratio=4.0)),
)


def vit(stage: Stage) -> Backbone:
    return Backbone(stem=PatchEmbed(image=(32, 32), patch=(8, 8)), stages=(stage,), head=Head(classes=10))


SMALL = vit(Stage(dim=96, depth=2, block=BLOCKS))
BIG = vit(Stage(dim=192, depth=3, block=Block(Attention(heads=6, head_dim=32), MLP())))


def drawn(arch: Backbone, *beside: Backbone) -> ElementTree.Element:
    return ElementTree.fromstring(draw(arch, name='a "b" <c>', scale=scale_of((arch, *beside)), kind="winner"))


def rects(svg: ElementTree.Element, kind: str) -> list[ElementTree.Element]:
    return [item for item in svg.iter("rect") if item.get("class") == kind]


def width(item: ElementTree.Element) -> float:
    return float(item.get("width", "nan"))


def test_each_head_is_a_cell_and_each_mlp_a_bar() -> None:
    svg = drawn(SMALL)
    assert len(rects(svg, "attention")) == 2 + 3
    assert len(rects(svg, "hidden")) == 2
    assert len(rects(svg, "stream")) == 1


def test_widths_are_in_proportion() -> None:
    bars = rects(drawn(SMALL), "hidden")
    assert width(bars[0]) / width(bars[1]) == pytest.approx(192 / 384, abs=0.01)


def test_two_drawings_have_one_scale() -> None:
    small, big = drawn(SMALL, BIG), drawn(BIG, SMALL)
    assert width(rects(small, "hidden")[1]) / width(rects(big, "hidden")[0]) == pytest.approx(384 / 768, abs=0.01)
    assert width(rects(small, "stream")[0]) / width(rects(big, "stream")[0]) == pytest.approx(96 / 192, abs=0.01)


def test_the_numbers_are_written() -> None:
    words = [item.text for item in drawn(SMALL).iter("text")]
    assert [word for word in words if word in ("192", "384")] == ["192", "384"]
    assert {"96 wide", "10 classes", "32 × 32 × 3", "16 + 1 tokens"} <= set(words)


@pytest.mark.parametrize("depth", [1, 12, 48, 200])
def test_everything_stays_in_the_picture(depth: int) -> None:
    svg = drawn(vit(Stage(dim=768, depth=depth, block=Block(Attention(heads=12), MLP()))))
    _, _, wide, high = map(float, svg.get("viewBox", "").split())
    assert wide == WIDTH
    for item in svg.iter("rect"):
        x, y = float(item.get("x", "nan")), float(item.get("y", "nan"))
        assert 0 <= x <= x + width(item) <= wide
        assert 0 <= y <= y + float(item.get("height", "nan")) <= high
    assert len(rects(svg, "hidden")) == depth


def test_blocks_of_many_branches_take_more_lines() -> None:
    svg = drawn(vit(Stage(dim=96, depth=1, block=Block(MLP(), Attention(heads=1), MLP()))))
    rows = [item for item in svg.iter("g") if any(part.get("class") in ("hidden", "attention") for part in item)]
    assert [len(rects(row, "hidden")) + len(rects(row, "attention")) for row in rows] == [1, 2]


def test_what_leads_into_a_stage_is_a_row() -> None:
    """A stage without blocks is its way in alone."""
    arch = cream_14()
    svg = drawn(arch)
    blocks = sum(stage.depth for stage in arch.stages)
    assert len(rects(svg, "hidden")) == blocks + len(arch.stages) - 1
    assert [item.text for item in svg.iter("text")].count("↓") == len(arch.stages) - 1
    titles = [item.text for item in svg.iter("title")]
    assert any(title and title.startswith("Downsample: from 16 to 24 wide, ") for title in titles)


def test_an_operation_without_a_drawing_of_its_own_is_a_plain_bar() -> None:
    @dataclass
    class Mixer:
        pass

    made = wing(Mixer(), 96)
    assert (made.width, made.cells, made.label) == (96, 1, "Mixer")


def test_blocks_that_share_weights_stand_in_one_bracket() -> None:
    shared = vit(Stage(dim=96, depth=6, block=BLOCKS[0], share=3))
    brackets = [item for item in drawn(shared).iter("path") if item.get("class") == "group"]
    assert [item.find("title").text for item in brackets] == [  # type: ignore[union-attr]
        "blocks 1 to 3 share their weights",
        "blocks 4 to 6 share their weights",
    ]
    assert not [item for item in drawn(SMALL).iter("path") if item.get("class") == "group"]
