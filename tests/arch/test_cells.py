"""Cells as graphs, their text, and what follows from the value of a network of cells."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vitesse.arch import (
    AuxiliaryHead,
    Cell,
    CellNetwork,
    CellSpace,
    CellStage,
    CellStem,
    Edge,
    Genotype,
    Grid,
    Head,
    any_space_from_json,
    buffers,
    cost,
    from_json,
    parameters,
    space_from_json,
    to_json,
)
from vitesse.arch.genotype import genotype_text, genotypes_json, genotypes_text, parse_genotype, read_genotypes

GOLDEN = Path(__file__).parents[1] / "golden"
HEAD = Head(classes=4, pool="mean", norm=None, norm_first=False)
NORMAL = Cell(((Edge("sep_conv_3x3", 0), Edge("skip_connect", 1)), (Edge("max_pool_3x3", 2), Edge("dil_conv_5x5", 0))))
REDUCE = Cell(((Edge("avg_pool_3x3", 1), Edge("skip_connect", 0)),), concat=(2,))
GENOTYPE = Genotype(NORMAL, REDUCE)
TEXT = (
    "Genotype(normal=[[('sep_conv_3x3', 0), ('skip_connect', 1)], [('max_pool_3x3', 2), ('dil_conv_5x5', 0)]], "
    "normal_concat=range(2, 4), reduce=[[('avg_pool_3x3', 1), ('skip_connect', 0)]], reduce_concat=range(2, 3))"
)


def network(**changes: Any) -> CellNetwork:
    stages = (
        CellStage(depth=2, channels=4, genotype=GENOTYPE, halves=True),
        CellStage(depth=1, channels=8, genotype=GENOTYPE),
    )
    return CellNetwork(**({"stem": CellStem(dim=6, image=(9, 12)), "stages": stages, "head": HEAD} | changes))


def test_a_genotype_is_text_in_both_forms_and_back() -> None:
    assert genotype_text(GENOTYPE) == TEXT
    assert parse_genotype(TEXT) == GENOTYPE
    for told in (genotypes_text([GENOTYPE] * 3), genotypes_json([GENOTYPE] * 3)):
        assert read_genotypes(told) == (GENOTYPE,) * 3
    assert read_genotypes(TEXT) == (GENOTYPE,)
    partly = replace(NORMAL, concat=(3,))
    assert parse_genotype(genotype_text(Genotype(partly, REDUCE))).normal == partly


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("__import__('os').system('true')", "begin with Genotype"),
        ("Genotype.__class__(normal=1)", "an expression Genotype"),
        (TEXT.replace("'sep_conv_3x3'", "open('x')"), "words, numbers and lists"),
        (TEXT.replace("range(2, 4)", "range(2, 10 ** 9)"), "words, numbers and lists"),
        (TEXT.replace("range(2, 4)", "range(2, 9999999)"), "a range of states"),
        (TEXT.replace("sep_conv_3x3", "sep_conv_9x9"), "Edge.operation must be one of max_pool_3x3"),
        (TEXT.replace("('sep_conv_3x3', 0)", "('sep_conv_3x3', 2)"), "an edge from state 2"),
        (TEXT.replace("('sep_conv_3x3', 0)", "'sep_conv_3x3'"), "a list of nodes"),
        (TEXT.replace("reduce_concat", "concat"), "has normal, normal_concat, reduce, reduce_concat"),
        (TEXT.replace("range(2, 4)", "range(2, 5)"), "from 2 to 3"),
        ("Genotype(", "this is none"),
        ('{"0": "Genotype()"}', 'The genotype of stage "0"'),
        ('{"1": "x"}', 'named "0" to "0"'),
        ("[1, 2]", "one Genotype or more"),
        ("nothing", "begin with Genotype"),
    ],
)
def test_what_is_no_genotype_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_genotypes(text)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Edge("none", 0), "Edge.operation"),
        (lambda: Cell(()), "one tuple of Edges"),
        (lambda: Cell(NORMAL.nodes, concat=(1, 2)), "from 2 to 3"),
        (lambda: CellStem(dim=5), "even"),
        (lambda: CellStem(dim=6, stride=4), "must be 1 or 8"),  # type: ignore[arg-type]
        (lambda: CellStage(depth=1, channels=3, genotype=GENOTYPE), "even"),
        (lambda: network(head=Head(classes=4, pool="mean")), "norm=None"),
        (lambda: network(auxiliary=AuxiliaryHead(stage=2)), "one of its 2 stages"),
        (lambda: CellSpace(stem=CellStem(dim=6), head=HEAD, kept=3), "from 1 to 2"),
        (lambda: CellSpace(stem=CellStem(dim=6), head=HEAD, found_depths=(3, 3)), "found_depths must be empty, or"),
        (lambda: CellSpace(stem=CellStem(dim=6), head=HEAD, found_depths=(7, 2, 6)), "at least that of depths"),
    ],
)
def test_impossible_values_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_network_is_json_and_no_space() -> None:
    for arch in (network(), network(auxiliary=AuxiliaryHead(), affine=False)):
        assert from_json(to_json(arch)) == arch
    with pytest.raises(ValueError, match="network of cells"):
        space_from_json(to_json(network()))
    assert network(auxiliary=AuxiliaryHead(), head=replace(HEAD, classes=0)).auxiliary is None


def test_maps_are_rounded_up() -> None:
    arch = network()
    assert (arch.grids, arch.reductions) == ((Grid(5, 6), Grid(5, 6)), (2, 2))
    large = replace(arch, stem=CellStem(dim=6, stride=8, image=(70, 64)))
    assert (large.grids, large.reductions) == ((Grid(5, 4), Grid(5, 4)), (16, 16))
    assert [(place.halved, place.halves) for place in large.places] == [(True, False), (False, True), (True, False)]


def test_cost_by_hand() -> None:
    cell = Cell(((Edge("sep_conv_3x3", 0), Edge("max_pool_3x3", 1)),))
    stage = CellStage(depth=1, channels=2, genotype=Genotype(cell, cell))
    price = cost(network(stem=CellStem(dim=4, image=(4, 4), channels=1), stages=(stage,)))
    units = 2 * (2 * 9 + 2 * 2)  # two pairs of a depthwise and a pointwise convolution
    assert price.macs == 16 * (9 * 4 + 2 * (4 * 2) + units) + 2 * 4
    norms = 2 * (4 + 2 + 2 + 2 + 2)
    assert price.params == 9 * 4 + 2 * (4 * 2) + units + norms + 2 * 4 + 4
    # Alive at the worst moment: the two maps, two inputs and a node, and within the operation two more.
    assert price.memory_bytes == 4 * (price.params + 16 * (4 + 4 + 2 * 2 + 2 + 2 * 2))


def test_normalizations_without_factors_have_statistics_alone() -> None:
    plain, bare = network(), network(affine=False)
    assert buffers(bare) == buffers(plain)
    gone = parameters(plain).keys() - parameters(bare).keys()
    assert gone and all(".norm." in name and name.startswith("stages.") for name in gone)


@pytest.mark.parametrize("repeated", [True, False])
def test_a_space_makes_networks_of_its_width(repeated: bool) -> None:
    space = CellSpace(stem=CellStem(dim=6), head=HEAD, channels=4, depths=(1, 2), repeated=repeated)
    assert space.sets == (1 if repeated else 2)
    found = space.network([GENOTYPE] * 2, depths=(3, 3), affine=False)
    assert [(stage.depth, stage.channels, stage.halves) for stage in found.stages] == [(3, 4, True), (3, 8, False)]
    assert (found.stem, found.affine) == (space.stem, False)


def test_counts_are_those_of_the_published_code() -> None:
    from vitesse.zoo.cdarts import CIFAR_GENOTYPE, cell_network

    rows = json.loads((GOLDEN / "cdarts_eval_net_params_A.json").read_text())["rows"]
    found = [
        (row["n_params"], cost(cell_network(
            row["model_type"], [CIFAR_GENOTYPE] * 3, channels=row["init_channel"], classes=row["num_classes"],
            image=(32, 32), stem_multiplier=row["stem_multiplier"])).params)
        for row in rows if row["genotype_file"] == "cifar"
    ]  # fmt: skip
    assert [expected for expected, _ in found] == [counted for _, counted in found] == [3_859_318, 5_493_856]


def test_a_space_of_cells_as_json_and_back() -> None:
    space = CellSpace(stem=CellStem(dim=6), head=HEAD, channels=4, depths=(1, 2), found_depths=(3, 2))
    assert any_space_from_json(to_json(space)) == space
    assert CellSpace(stem=CellStem(dim=6), head=HEAD, depths=(1, 2)).found_depths == (1, 2)
    for read in (from_json, space_from_json):
        with pytest.raises(ValueError, match="but got CellSpace"):
            read(to_json(space))
    with pytest.raises(ValueError, match="this is a CellNetwork"):
        any_space_from_json(to_json(space.network((GENOTYPE, GENOTYPE))))


def test_the_stem_gets_wider_with_the_cells() -> None:
    space = CellSpace(stem=CellStem(dim=12), head=HEAD, channels=4, depths=(1, 2))
    wider = space.network((GENOTYPE, GENOTYPE), channels=10)
    assert (wider.stem.dim, wider.stages[1].channels) == (30, 20)
    assert space.network((GENOTYPE, GENOTYPE)).stem == space.stem
