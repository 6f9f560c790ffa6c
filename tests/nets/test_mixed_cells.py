"""The network in which cells are searched for, held against what the published code computed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from vitesse.arch import Cell, CellSpace, CellStem, Edge, Genotype, Head
from vitesse.arch.cell_network import Place
from vitesse.nets import build
from vitesse.nets.cells import CellModule, NetworkOfCells
from vitesse.nets.mixed_cells import CellScores, MixedCell, MixedNetwork, discretized, taken
from vitesse.nets.tapped import Tapping
from vitesse.zoo.cdarts import CIFAR_GENOTYPE, cell_space
from vitesse.zoo.cdarts_weights import in_input, in_operation

GOLDEN = Path(__file__).parents[1] / "golden"
HEAD = Head(classes=6, pool="mean", norm=None, norm_first=False)
CELLS = ("normal", "reduce")


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def their_name(name: str, *, lead: str) -> str:
    """The published name of a weight within a cell; one of several operations of an edge has a number more."""
    place, number, rest = name.split(".", 2)
    if place == "inputs":
        return f"{lead}preproc{number}.{in_input(rest)}"
    edge, rest = rest.split(".", 1)
    if rest.startswith("operations."):
        _, operation, rest = rest.split(".", 2)
        return f"{lead}dag.{number}.{edge}._ops.{operation}.{in_operation(rest)}"
    return f"{lead}dag.{number}.{edge}.0.{in_operation(rest)}"


def load(module: nn.Module, tensors: dict[str, Tensor], lead: str) -> nn.Module:
    """The module with published weights, in float64 and evaluation."""
    state = {
        name: torch.tensor(0) if name.endswith("batches_tracked") else tensors[their_name(name, lead=lead)]
        for name in module.state_dict()
    }
    module.load_state_dict(state)
    return module.double().eval()


def edges(cell: Cell) -> list[list[list[Any]]]:
    return [[[edge.operation, edge.source] for edge in node] for node in cell.nodes]


@pytest.fixture(scope="module")
def record() -> tuple[dict[str, Any], dict[str, Tensor]]:
    facts = json.loads((GOLDEN / "cdarts_search_net_A.json").read_text())
    return facts, load_file(GOLDEN / "cdarts_search_net_A.safetensors")


@pytest.fixture(scope="module")
def scores(record: tuple[dict[str, Any], dict[str, Tensor]]) -> CellScores:
    space = CellSpace(stem=CellStem(dim=6), head=HEAD, channels=2, repeated=False)
    found, (_, tensors) = CellScores(space, edges=True), record
    assert found.beta is not None
    with torch.no_grad():
        for stage in range(3):
            for k, (kind, cell) in enumerate((kind, cell) for kind in (found.alpha, found.beta) for cell in CELLS):
                for node in range(4):
                    kind[stage][cell][node].copy_(tensors[f"state.super_layers_arch.{stage}.{k}.{node}"])  # type: ignore[index]
    return found.double()


@pytest.mark.parametrize("name", ["normal", "reduction", "normal_after_reduction"])
def test_cells_agree(name: str) -> None:
    facts = json.loads((GOLDEN / "cdarts_cells_A.json").read_text())
    tensors = load_file(GOLDEN / "cdarts_cells_A.safetensors")
    told = next(cell for cell in facts["cells"] if cell["name"] == name)
    space = CellSpace(stem=CellStem(dim=6), head=HEAD)
    place = Place(
        name="cell",
        before=(told["C_pp"], told["C_p"]),
        channels=told["C"],
        grid=space.stem.grid,
        halved=told["reduction_p"],
        halves=told["reduction"],
        outputs=4,
    )
    maps = [tensors[f"{name}.s{i}"].double() for i in range(2)]
    alpha, beta = ([tensors[f"{name}.{kind}.{i}"].double() for i in range(4)] for kind in ("alpha", "beta"))
    weights = [one.softmax(-1) * edge.softmax(0)[:, None] for one, edge in zip(alpha, beta, strict=True)]
    mixed = load(MixedCell(space, place), tensors, f"{name}.state.")
    with torch.no_grad():
        assert relative(mixed(*maps, weights), tensors[f"{name}.output_f64"]) < 1e-6
        gene = CIFAR_GENOTYPE.reduce if place.halves else CIFAR_GENOTYPE.normal
        found = load(CellModule(gene, place, affine=True, drop_path=0.0), tensors, f"{name}.augment.state.")
        assert relative(found(*maps), tensors[f"{name}.augment.output"].double()) < 1e-5


def test_the_network_agrees(record: tuple[dict[str, Any], dict[str, Tensor]], scores: CellScores) -> None:
    _, tensors = record
    network = MixedNetwork(scores.space)
    for part, lead in {"stem.convs.0": "feature_extractor.0", "head.classifier": "fc_super"}.items():
        layers = {"conv": "0", "norm": "1"} if part.startswith("stem") else {}
        state = {
            name: tensors[f"state.{lead}." + ".".join(layers.get(one, one) for one in name.split("."))]
            for name in network.get_submodule(part).state_dict()
            if not name.endswith("batches_tracked")
        }
        network.get_submodule(part).load_state_dict(state, strict=False)
    for s, stage in enumerate(network.stages):
        for c, cell in enumerate(stage["cells"]):  # type: ignore[index, arg-type]
            load(cell, tensors, f"state.super_layers.{s}.{c}.")
    with torch.no_grad():
        seen = network.double().eval()(tensors["input"].double(), scores)
    assert relative(seen.logits, tensors["output_f64"]) < 1e-12
    for s, found in enumerate(seen.maps):
        assert relative(found, tensors[f"mid.layer{s}.s1"].double()) < 1e-5


def test_found_cells_agree(record: tuple[dict[str, Any], dict[str, Tensor]], scores: CellScores) -> None:
    for found, told in zip(scores.float().genotypes(), record[0]["generated_genotypes"], strict=True):
        assert (edges(found.normal), edges(found.reduce)) == (told["normal"], told["reduce"])
    scores.double()


def test_every_published_case_of_finding_cells_agrees() -> None:
    space = CellSpace(stem=CellStem(dim=6), head=HEAD)
    for case in json.loads((GOLDEN / "cdarts_genotype_A.json").read_text())["cases"]:
        for cell in CELLS:
            pairs = zip(case[f"alpha_{cell}"], case[f"beta_{cell}"], strict=True)
            weights = [
                torch.tensor(alpha).softmax(-1) * torch.tensor(beta).softmax(0)[:, None] for alpha, beta in pairs
            ]
            assert edges(discretized(weights, space)) == case[cell]


@pytest.fixture(scope="module")
def tiny() -> CellSpace:
    return CellSpace(stem=CellStem(dim=4, image=(8, 8)), head=HEAD, channels=2, depths=(1, 1), nodes=2)


def test_without_scores_of_edges_a_node_is_the_mean(tiny: CellSpace) -> None:
    weights = CellScores(tiny).weights(1, "normal")
    assert [tuple(weight.shape) for weight in weights] == [(2, 8), (3, 8)]
    for weight in weights:
        torch.testing.assert_close(weight.sum(1), torch.full((len(weight),), 1 / len(weight)))


def test_the_penalty_counts_shared_scores_for_each_stage() -> None:
    torch.manual_seed(0)
    space = cell_space("cifar", classes=10, image=(32, 32))
    scores = CellScores(space)
    alphas = [alpha for cell in CELLS for alpha in scores.alpha[0][cell]]  # type: ignore[index, union-attr]
    by_hand = 3 * sum(float(alpha[:, :3].detach().abs().sum()) for alpha in alphas)  # pools and the skip come first
    assert float(scores.penalty().detach()) == pytest.approx(by_hand)
    own = CellScores(cell_space("cifar", classes=10, image=(32, 32), repeated=False))
    assert len(own.alpha) == 3 and float(own.penalty().detach()) > 0


def test_scores_and_weights_learn(tiny: CellSpace) -> None:
    torch.manual_seed(0)
    network, scores = MixedNetwork(tiny), CellScores(tiny, edges=True)
    seen = network(torch.randn(4, 3, 8, 8), scores)
    assert [tuple(one.shape) for one in seen.maps] == [(4, 8, 4, 4), (4, 8, 4, 4)]
    (seen.logits.square().sum() + sum(one.sum() for one in seen.maps)).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    # A reduction of the last stage does not exist; here both stages share one pair of cells.
    assert all(parameter.grad is not None and bool(parameter.grad.any()) for parameter in scores.parameters())


def test_found_networks_are_tapped_alike(tiny: CellSpace) -> None:
    arch = tiny.network(CellScores(tiny).genotypes(), depths=(2, 1), affine=False)
    network = build(arch)
    assert isinstance(network, NetworkOfCells)
    images = torch.randn(2, 3, 8, 8)
    seen = Tapping(network.eval())(images)
    assert [one.shape[1] for one in seen.maps] == [stage.dim for stage in arch.stages]
    assert torch.equal(seen.logits, network(images))
    assert isinstance(arch.stages[0].genotype, Genotype)


def test_a_mixed_network_run_by_cells_is_their_network(tiny: CellSpace) -> None:
    """The pool of a search: its weights are those of every network of found cells, and of nothing else."""
    torch.manual_seed(0)
    pool = MixedNetwork(replace(tiny, depths=(2, 1), found_depths=(2, 1)))
    genotypes = CellScores(tiny).genotypes(drawn=torch.Generator().manual_seed(2))
    network = taken(pool, pool.space.network(genotypes, affine=False))
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(pool.eval()(images, genotypes).logits, network.eval()(images))
    pool.train()(images, genotypes).logits.square().sum().backward()
    learned = sum(parameter.numel() for parameter in pool.parameters() if parameter.grad is not None)
    assert learned == sum(parameter.numel() for parameter in network.parameters())


def test_cells_are_drawn_by_the_weights_of_edges_and_operations(tiny: CellSpace) -> None:
    torch.manual_seed(0)
    scores = CellScores(tiny)
    with torch.no_grad():
        for alpha in scores.parameters():
            alpha[0, 3] += 3.0  # of the first edge alone
    generator = torch.Generator().manual_seed(0)
    cells = [scores.genotypes(drawn=generator)[0].normal for _ in range(300)]
    shares = scores.named()["normal.2.0"].detach().softmax(0)
    found = sum(edge == Edge("sep_conv_3x3", 0) for cell in cells for edge in cell.nodes[0]) / 300
    assert found == pytest.approx(
        float(shares[3] / shares[:-1].sum()), abs=0.06
    )  # both edges of the first node are kept
    assert all(len({edge.source for edge in node}) == tiny.kept for cell in cells for node in cell.nodes)
    assert len(set(cells)) > 50
    assert list(scores.named()) == [f"{kind}.{n}.{source}" for kind in CELLS for n in (2, 3) for source in range(n)]
