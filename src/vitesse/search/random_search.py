"""Random search: the baseline that any other strategy has to beat with as many evaluations."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from vitesse.arch import Backbone
from vitesse.search.candidate import Candidate, Feasible, Proposals
from vitesse.search.draw import draw


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomSearch:
    """`population` new random networks each generation."""

    population: int = 50

    def __post_init__(self) -> None:
        if self.population < 1:
            raise ValueError(f"RandomSearch.population must be at least 1, but got {self.population}.")

    def propose(
        self,
        space: Backbone,
        history: Sequence[Candidate],
        *,
        generation: int,
        rng: random.Random,
        feasible: Feasible,
    ) -> Proposals:
        """Networks with each decision uniform over its options, feasible and never tried before."""
        seen = [candidate.arch for candidate in history]
        return [(arch, "random") for arch in draw(space, self.population, rng=rng, feasible=feasible, seen=seen)]
