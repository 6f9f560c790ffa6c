"""The network in which cells are searched for: every edge is all operations at once, weighted (DARTS, section 2.2), or one
of them, as found cells have it (the parameter pool of CDARTS).

Notation: node i has 2 + i edges, from all earlier states; o operations; alpha_i (2 + i, o) and beta_i (2 + i,) the raw scores
of its operations and of its edges.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from vitesse.arch import Cell, CellNetwork, Edge, Genotype
from vitesse.arch.cell_network import Place
from vitesse.arch.cell_space import CellSpace
from vitesse.arch.cells import INPUTS, NONE, OPERATIONS
from vitesse.nets.cells import NetworkOfCells, StemOfCells, cell_inputs
from vitesse.nets.interface import initialize
from vitesse.nets.tapped import Tapped
from vitesse.ops.cells import cell_operation
from vitesse.ops.head import Classifier
from vitesse.ops.mixture import mix

# Operations without weights at stride 1, to which a search by gradients leans; CDARTS holds their scores back.
WEIGHTLESS = ("max_pool_3x3", "avg_pool_3x3", "skip_connect")
KINDS = ("normal", "reduce")


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
                    {name: nn.ParameterList(1e-3 * torch.randn(size, *tail) for size in sizes) for name in KINDS}
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

    @torch.no_grad()
    def genotypes(self, *, drawn: torch.Generator | None = None) -> tuple[Genotype, ...]:
        """The cells of each stage as the scores have them now; or a draw: of edges, and of their operations, by the weights."""

        def cell_of(stage: int, kind: str) -> Cell:
            weights = self.weights(stage, kind)
            if drawn is not None:  # the greatest of weights that are divided by exponential numbers is a draw by them
                weights = [one / torch.empty(one.shape).exponential_(generator=drawn).to(one) for one in weights]
            return discretized(weights, self.space)

        found = tuple(Genotype(*(cell_of(s, kind) for kind in KINDS)) for s in range(self.space.sets))
        return found * (len(self.space.depths) // self.space.sets)

    def named(self) -> dict[str, Tensor]:
        """The alpha (o,) of each edge: `stages.1.normal.2.0` is that of node 2 from state 0; of all stages, `normal.2.0`."""
        return {
            f"{'' if self.space.repeated else f'stages.{s}.'}{cell}.{node}.{source}": scores
            for s, cells in enumerate(self.alpha)
            for cell in KINDS
            for node, alpha in enumerate(cast(nn.ModuleDict, cells)[cell].parameters(), start=INPUTS)
            for source, scores in enumerate(alpha)
        }

    def penalty(self) -> Tensor:
        """The sum of |alpha| of the operations without weights, over the cells of all stages.

        Scores that several stages share are counted for each of them, as published.
        """
        columns = [self.space.operations.index(name) for name in WEIGHTLESS]
        stages = [0 if self.space.repeated else s for s in range(len(self.space.depths))]
        terms = [
            alpha[:, columns].abs().sum()
            for number in stages
            for cell in KINDS
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
    """All operations on one state, weighted; what is no edge adds nothing, whatever its weight."""

    def __init__(self, channels: int, *, stride: int) -> None:
        super().__init__()
        self.operations = nn.ModuleList(
            cell_operation(name, channels, stride=stride, affine=False) for name in OPERATIONS
        )

    def forward(self, x: Tensor, how: Tensor | str) -> Tensor:
        """A state (B, C, H, W) to (B, C, H / stride, W / stride), by the weights (o,) or by one operation alone."""
        if isinstance(how, str):
            alone: Tensor = self.operations[OPERATIONS.index(how)](x)
            return alone
        return mix(how[: len(self.operations)], [operation(x) for operation in self.operations])


class MixedCell(nn.Module):
    """A cell each of whose nodes has an edge from every earlier state."""

    def __init__(self, space: CellSpace, place: Place) -> None:
        super().__init__()
        self.inputs = cell_inputs(place, affine=False)
        self.nodes = nn.ModuleList(
            nn.ModuleList(MixedEdge(place.channels, stride=place.stride(source)) for source in range(INPUTS + node))
            for node in range(space.nodes)
        )

    def forward(self, first: Tensor, second: Tensor, how: Sequence[Tensor] | Cell) -> Tensor:
        """Two maps to (B, nodes * channels, h / stride, w / stride), by the weights of each node or as one cell has it."""
        states = [self.inputs[0](first), self.inputs[1](second)]
        nodes: Sequence[Tensor | tuple[Edge, ...]] = how.nodes if isinstance(how, Cell) else how
        for edges, node in zip(self.nodes, nodes, strict=True):
            ways = enumerate(node) if isinstance(node, Tensor) else ((edge.source, edge.operation) for edge in node)
            terms = [edges[source](states[source], way) for source, way in ways]  # type: ignore[index]
            states.append(sum(terms[1:], terms[0]))
        return torch.cat(states[INPUTS:], 1)


class MixedNetwork(nn.Module):
    """Stem, stages of mixed cells, head; scores, or the cells whose operations are run alone, come with each call.

    Run by cells, it is the pool of a search's evaluation networks: all have their weights from here, so that those of an
    operation outlast the cycles in which it is not used.
    """

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

    def forward(self, images: Tensor, how: CellScores | Sequence[Genotype]) -> Tapped:
        """Images (B, C, H, W), by these scores or as the network of one genotype a stage, to maps and logits."""
        first, second = self.stem(images)
        maps = []
        for s, stage in enumerate(self.stages):
            normal, reduce = (
                [how.weights(s, kind) for kind in KINDS]
                if isinstance(how, CellScores)
                else (how[s].normal, how[s].reduce)
            )
            cells = list(stage["cells"])  # type: ignore[index]
            for c, cell in enumerate(cells):
                halves = self.space.halves(s) and c == len(cells) - 1
                first, second = second, cell(first, second, reduce if halves else normal)
            maps.append(second)
        logits: Tensor = self.head(second.mean((2, 3)))
        return Tapped(tuple(maps), logits)


def taken(pool: MixedNetwork, arch: CellNetwork) -> NetworkOfCells:
    """The network of found cells `arch` as one of its own, its weights those of a mixed network as deep and as wide."""
    network = NetworkOfCells(arch, drop_path=[0.0] * len(arch.places)).to(next(pool.parameters()).device)
    cells = {place.name: cell for place, cell in zip(arch.places, arch.cells, strict=True)}
    known = pool.state_dict()

    def there(name: str) -> str:
        found = re.fullmatch(r"(.+)\.nodes\.(\d+)\.(\d+)\.(.+)", name)
        if found is None:
            return name
        edge = cells[found[1]].nodes[int(found[2])][int(found[3])]
        number = OPERATIONS.index(edge.operation)
        return f"{found[1]}.nodes.{found[2]}.{edge.source}.operations.{number}.{found[4]}"

    network.load_state_dict({name: known[there(name)] for name in network.state_dict()})
    return network
