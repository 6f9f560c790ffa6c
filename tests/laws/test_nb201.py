from __future__ import annotations

import random

import pytest
import torch
from tests.laws.conftest import randomized
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from vitesse.arch import Backbone, Grid, NB201Cell, ResidualDownsample, parameters, sample, tensors, to_json
from vitesse.arch.nb201 import EDGES, KINDS
from vitesse.nets import build
from vitesse.nets.fold import fold
from vitesse.ops.nb201 import CellGraph, ResidualDownsampling
from vitesse.supernet import Supernet, inherit
from vitesse.zoo.nb201 import nb201, nb201_cell_space

GRID = Grid(5, 4)


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    return randomized(Supernet(nb201_cell_space(width=4, image=6, classes=3)))


@pytest.fixture(scope="module")
def archs(supernet: Supernet) -> list[Backbone]:
    return [sample(supernet.space, random.Random(seed)) for seed in range(8)]


def test_a_subnet_is_the_network_that_is_cut_out(supernet: Supernet, archs: list[Backbone]) -> None:
    images = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    for arch in archs:
        alone = inherit(supernet.network, arch)
        assert torch.equal(alone(images), supernet(images, arch)), to_json(arch)
        torch.testing.assert_close(fold(alone)(images), alone(images))


def test_operations_that_were_not_chosen_get_no_gradient(supernet: Supernet, archs: list[Backbone]) -> None:
    for arch in archs:
        supernet.zero_grad(set_to_none=True)
        supernet(torch.randn(2, 3, 6, 6, dtype=torch.float64), arch).sum().backward()
        moved = {name for name, one in supernet.network.named_parameters() if one.grad is not None}
        assert moved <= set(parameters(arch))


def test_a_network_has_what_its_value_says() -> None:
    for arch in (nb201(NB201Cell(edges=(*KINDS, "none")), cells=2, width=4), Supernet(nb201_cell_space(width=4)).host):
        stored = build(arch).state_dict()
        assert set(stored) == set(tensors(arch))


def test_a_mixture_of_one_operation_is_that_operation() -> None:
    mixed = CellGraph(NB201Cell(edges=(KINDS,) * 6), 4).eval()
    edges = ("nor_conv_3x3", "avg_pool_3x3", "nor_conv_1x1", "none", "skip_connect", "nor_conv_3x3")
    alone = CellGraph(NB201Cell(edges=edges), 4).eval()  # type: ignore[arg-type]
    alone.load_state_dict({name: mixed.state_dict()[name] for name in alone.state_dict()})
    shares = {f"edges.{e}.mixture": torch.eye(5)[KINDS.index(kind)] for e, kind in enumerate(edges)}  # type: ignore[arg-type]
    x = torch.randn(2, GRID.tokens, 4)
    torch.testing.assert_close(functional_call(mixed, shares, (x, GRID)), alone(x, GRID))
    with pytest.raises(ValueError, match="runs as a mixture"):
        mixed(x, GRID)


def test_nodes_sum_what_their_edges_bring() -> None:
    """Identities alone: node n is the sum of all before it, so the output is four times the input."""
    cell = CellGraph(NB201Cell(edges=("skip_connect",) * 6), 4)
    x = torch.randn(2, GRID.tokens, 4)
    torch.testing.assert_close(cell(x, GRID), 4 * x)
    assert len(EDGES) == 6
    nothing = CellGraph(NB201Cell(edges=("none",) * 6), 4)
    assert torch.equal(nothing(x, GRID), torch.zeros_like(x))


@pytest.mark.parametrize("grid", [Grid(4, 6), Grid(5, 3), Grid(1, 1)])
def test_downsampling_adds_a_strided_block_to_a_mean(grid: Grid) -> None:
    value = ResidualDownsample()
    module = ResidualDownsampling(value, 3, 6)
    x = torch.randn(2, grid.tokens, 3)
    out = module(x, grid)
    assert out.shape == (2, value.grid(grid).tokens, 6)
    nn.init.zeros_(module.second.norm.weight)
    nn.init.ones_(module.shortcut.weight)
    on_map = x.transpose(1, 2).unflatten(2, (grid.rows, grid.columns))
    mean = functional.avg_pool2d(on_map, 2, 2, ceil_mode=True, count_include_pad=False).sum(1)  # (B, rows, columns)
    torch.testing.assert_close(module(x, grid), mean.flatten(1)[..., None].expand_as(out))
