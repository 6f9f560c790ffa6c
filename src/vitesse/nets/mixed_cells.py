"""The network in which cells are searched for: every edge is all operations at once, weighted (DARTS, section 2.2).

Notation: node i has 2 + i edges, from all earlier states; o operations; alpha_i (2 + i, o) and beta_i (2 + i,) the raw scores
of its operations and of its edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vitesse.arch import Cell, Edge, Genotype
from vitesse.arch.cell_network import Place
from vitesse.arch.cell_space import CellSpace
from vitesse.arch.cells import INPUTS, NONE
from vitesse.nets.cells import NetworkOfCells, StemOfCells, cell_inputs
from vitesse.nets.interface import initialize
from vitesse.ops.cells import cell_operation
from vitesse.ops.head import Classifier

# Operations without weights at stride 1, to which a search by gradients leans; CDARTS holds their scores back.
WEIGHTLESS = ("max_pool_3x3", "avg_pool_3x3", "skip_connect")


class Tapped(NamedTuple):
    """What a network makes of images: the map (B, C, h, w) at the end of each stage, and the logits (B, classes)."""

    maps: tuple[Tensor, ...]
    logits: Tensor


def tapped(network: NetworkOfCells, images: Tensor) -> Tapped:
    """What a network of found cells makes of images (B, C, H, W)."""
    last, maps = network.forward_intermediates(images)
    return Tapped(tuple(maps), network.forward_head(last))


class CellScores(nn.Module):
    """The scores that are searched: of each pair of cells alpha, and beta where edges have scores of their own.

    All begin as noise of deviation 0.001, as published.
    """

    def __init__(self, space: CellSpace, *, edges: bool = False) -> None:
        super().__init__()
        self.space = space
        count = len(space.operations)
        sizes = range(INPUTS, INPUTS + space.nodes)

        def noise(*tail: int) -> nn.ModuleList:
            return nn.ModuleList(
                nn.ModuleDict(
                    {
                        name: nn.ParameterList(1e-3 * torch.randn(size, *tail) for size in sizes)
                        for name in ("normal", "reduce")
                    }
                )
                for _ in range(space.sets)
            )

        self.alpha = noise(count)
        self.beta = noise() if edges else None

    def weights(self, stage: int, cell: str) -> list[Tensor]:
        """For each node of a stage's "normal" or "reduce" cell the weight of each operation on each edge, (2 + i, o).

        Those of an edge sum to its own weight, and those of the edges to 1: the node is a mean, as published.
        """
        number = 0 if self.space.repeated else stage
        alphas: Sequence[Tensor] = self.alpha[number][cell]  # type: ignore[index]
        found = []
        for i, alpha in enumerate(alphas):
            if self.beta is None:
                edges = alpha.new_full((len(alpha),), 1 / len(alpha))
            else:
                edges = self.beta[number][cell][i].softmax(0)  # type: ignore[index]
            found.append(alpha.softmax(-1) * edges[:, None])
        return found

    def genotypes(self) -> tuple[Genotype, ...]:
        """The cells of each stage as the scores have them now."""
        cells = ("normal", "reduce")
        with torch.no_grad():
            return tuple(
                Genotype(*(discretized(self.weights(s, cell), self.space) for cell in cells))
                for s in range(len(self.space.depths))
            )

    def penalty(self) -> Tensor:
        """The sum of |alpha| of the operations without weights, over the cells of all stages.

        Scores that several stages share are counted for each of them, as published.
        """
        columns = [self.space.operations.index(name) for name in WEIGHTLESS]
        stages = [0 if self.space.repeated else s for s in range(len(self.space.depths))]
        terms = [
            alpha[:, columns].abs().sum()
            for number in stages
            for cell in ("normal", "reduce")
            for alpha in self.alpha[number][cell]  # type: ignore[index]
        ]
        return torch.stack(terms).sum()


def discretized(weights: Sequence[Tensor], space: CellSpace) -> Cell:
    """The cell that keeps of each node the edges of the greatest weights, of each edge its best operation but none.

    The edges come in falling order of their weights, as published.
    """
    names = [name for name in space.operations if name != NONE]
    nodes = []
    for weight in weights:
        best, operations = weight[:, : len(names)].max(1)
        kept = best.topk(space.kept).indices.tolist()
        nodes.append(tuple(Edge(names[int(operations[source])], source) for source in kept))
    return Cell(tuple(nodes))


class MixedEdge(nn.Module):
    """All operations on one state, weighted."""

    def __init__(self, space: CellSpace, channels: int, *, stride: int) -> None:
        super().__init__()
        # What is no edge adds nothing, whatever its weight.
        names = [name for name in space.operations if name != NONE]
        self.operations = nn.ModuleList(cell_operation(name, channels, stride=stride, affine=False) for name in names)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """A state (B, C, H, W) and the weights (o,) to (B, C, H / stride, W / stride)."""
        terms = [weight * operation(x) for weight, operation in zip(weights, self.operations, strict=False)]
        mixed: Tensor = sum(terms[1:], terms[0])
        return mixed


class MixedCell(nn.Module):
    """A cell each of whose nodes has an edge from every earlier state."""

    def __init__(self, space: CellSpace, place: Place) -> None:
        super().__init__()
        self.inputs = cell_inputs(place, affine=False)
        self.nodes = nn.ModuleList(
            nn.ModuleList(
                MixedEdge(space, place.channels, stride=place.stride(source)) for source in range(INPUTS + node)
            )
            for node in range(space.nodes)
        )

    def forward(self, first: Tensor, second: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """Two maps and the weights of each node to (B, nodes * channels, h / stride, w / stride)."""
        states = [self.inputs[0](first), self.inputs[1](second)]
        for edges, weight in zip(self.nodes, weights, strict=True):
            terms = [edge(state, one) for edge, state, one in zip(edges.children(), states, weight, strict=True)]
            states.append(sum(terms[1:], terms[0]))
        return torch.cat(states[INPUTS:], 1)


class MixedNetwork(nn.Module):
    """Stem, stages of mixed cells, head; the scores are no part of it and come with each call."""

    def __init__(self, space: CellSpace) -> None:
        super().__init__()
        self.space = space
        self.stem = StemOfCells(space.stem)
        places = iter(space.places)
        self.stages = nn.ModuleList()
        for depth in space.depths:
            own = [next(places) for _ in range(depth)]
            self.stages.append(nn.ModuleDict({"cells": nn.ModuleList(MixedCell(space, place) for place in own)}))
        last = space.places[-1]
        self.head = Classifier(space.head, last.channels * space.nodes)
        initialize(self)

    def forward(self, images: Tensor, scores: CellScores) -> Tapped:
        """Images (B, C, H, W), by these scores, to maps and logits."""
        first, second = self.stem(images)
        maps = []
        for s, stage in enumerate(self.stages):
            weights = {cell: scores.weights(s, cell) for cell in ("normal", "reduce")}
            cells = list(stage["cells"])  # type: ignore[index]
            for c, cell in enumerate(cells):
                kind = "reduce" if self.space.halves(s) and c == len(cells) - 1 else "normal"
                first, second = second, cell(first, second, weights[kind])
            maps.append(second)
        logits: Tensor = self.head(second.mean((2, 3)))
        return Tapped(tuple(maps), logits)
