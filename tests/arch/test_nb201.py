from __future__ import annotations

import pytest

from vitesse.arch import Choice, NB201Cell, cost, from_json, picks, size, to_json
from vitesse.zoo.nb201 import SMALL_KINDS, nb201, nb201_cell_space, the_cell

TEXT = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|none~0|nor_conv_3x3~1|skip_connect~2|"


def test_a_cell_reads_and_writes_its_published_text() -> None:
    cell = NB201Cell.from_text(TEXT)
    assert cell.edges == ("avg_pool_3x3", "nor_conv_1x1", "skip_connect", "none", "nor_conv_3x3", "skip_connect")
    assert cell.text == TEXT


@pytest.mark.parametrize("text", ["", TEXT[1:], TEXT.replace("none", "nothing"), TEXT.replace("~2", "~1"), TEXT + "|"])
def test_what_is_no_cell_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"but got"):
        NB201Cell.from_text(text)


@pytest.mark.parametrize("edges", [("skip_connect",) * 5, ("skip",) * 6, (("none",),) * 6, (Choice("none", "x"),) * 6])
def test_a_cell_has_six_known_operations(edges: object) -> None:
    with pytest.raises(ValueError, match="must be 6 operations"):
        NB201Cell(edges=edges)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "params", "macs"), [("skip_connect", 73_306, 7_783_040), ("nor_conv_3x3", 1_531_546, 220_119_680)]
)
def test_the_network_around_a_cell_counts_as_the_sum_of_its_layers(kind: str, params: int, macs: int) -> None:
    """The sums by hand: stem 464, two basic blocks 14,464 and 57,600, end 778, and six 3x3 a cell."""
    found = cost(nb201(NB201Cell(edges=(kind,) * 6)))  # type: ignore[arg-type]
    assert (found.params, found.macs) == (params, macs)


def test_a_space_of_cells_has_a_decision_for_each_edge() -> None:
    space = nb201_cell_space(SMALL_KINDS, width=8, image=8)
    assert size(space) == 3**6
    assert from_json(to_json(space)) == space
    arch = nb201(NB201Cell(edges=("skip_connect",) * 5 + ("nor_conv_3x3",)), cells=1, stages=1, width=8, image=8)
    assert picks(space, arch)["stages.0.blocks.0.0.edges.5"] == "nor_conv_3x3"
    assert the_cell(arch).edges[5] == "nor_conv_3x3"
