"""The pair of a space of cells: a shallow network of mixed cells, and a deeper one of those that are believed in."""

from __future__ import annotations

import random
from dataclasses import replace

import torch
from torch import Tensor

from vitesse.arch import CellNetwork, CellSpace
from vitesse.nets.mixed_cells import CellScores, MixedNetwork
from vitesse.nets.tapped import Tapped
from vitesse.ops.interactor import Interactor
from vitesse.tasks.cyclic.pair import Pair
from vitesse.tasks.cyclic.settings import CyclicSettings

POOL = 6  # the side of the heads' pooling, where maps leave room for it


class PairOfCells(Pair[CellNetwork]):
    """`evaluation` is the pool of the found networks' weights: mixed cells as deep, run one operation an edge.

    Any cells may come out: what they cost is decided by how they are laid out afterwards.
    """

    alpha: CellScores

    def __init__(self, space: CellSpace, settings: CyclicSettings) -> None:
        super().__init__(settings)
        self.space = space
        self.search = MixedNetwork(space)
        self.evaluation = MixedNetwork(replace(space, depths=space.found_depths))
        self.alpha = CellScores(space)
        taps = [place for place in space.places if place.halves] or [space.places[-1]]
        self.interactor = Interactor(
            [place.channels * place.outputs for place in taps],
            space.head.classes,
            # 6, or on maps of 7 places 5: as published.
            pools=[max(1, min(POOL, place.after.rows - 2, place.after.columns - 2)) for place in taps],
            hidden=settings.embedding,
            joined=settings.ensemble,
            fixed=settings.fixed_heads,
        )

    def searching(self, images: Tensor) -> Tapped:
        found: Tapped = self.search(images, self.alpha)
        return found

    def evaluating(self, images: Tensor, arch: CellNetwork) -> Tapped:
        found: Tapped = self.evaluation(images, [stage.genotype for stage in arch.stages])
        return found

    def penalized(self) -> Tensor:
        """Scores that several stages share count for each of them, as published."""
        return self.alpha.penalty()

    def logits(self) -> dict[str, tuple[float, ...]]:
        return {edge: tuple(scores.detach().double().tolist()) for edge, scores in self.alpha.named().items()}

    def candidates(self) -> dict[str, tuple[str, ...]]:
        return dict.fromkeys(self.alpha.named(), self.space.operations)

    def likeliest(self, rng: random.Random) -> list[CellNetwork]:
        """The network of the cells that are best now; nothing is left to chance."""
        return [self.found()]

    def drawn(self, rng: random.Random) -> CellNetwork:
        """Cells drawn by the weights of edges and operations."""
        return self.found(drawn=torch.Generator().manual_seed(rng.getrandbits(63)))

    def found(self, *, drawn: torch.Generator | None = None) -> CellNetwork:
        """The evaluation network of the cells that are best now, or of drawn ones."""
        genotypes = self.alpha.genotypes(drawn=drawn)
        return self.space.network(genotypes, depths=self.space.found_depths, affine=False)
