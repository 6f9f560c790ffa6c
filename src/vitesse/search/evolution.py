"""Evolution as AutoFormer publishes it (Chen et al., "AutoFormer", ICCV 2021, section 3.3 and its released search)."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vitesse.arch import Backbone, cross, mutate, picks
from vitesse.search.candidate import Candidate, Feasible, Proposals
from vitesse.search.draw import draw

DRAWS = 10  # a phase gives up after this many draws for each child that it was asked for
MATES = 50  # how often two parents of unlike shape are drawn again


@dataclass(frozen=True, kw_only=True, slots=True)
class Evolution:
    """The published evolution: 50 candidates a generation, 25 mutants and 25 crossovers of the ten best so far.

    The first generation is random. Parents are drawn uniformly, with replacement, from the all-time best. A mutant
    redraws depth and width with `stage_rate`, each decision within a block with `block_rate`. A crossover mixes two
    parents that take the same decisions. Each kind stops after ten times as many draws as children; random networks
    fill what is missing. No network is proposed twice. Twenty generations are published.

    What the released search does besides is not reproduced: it scores candidates on the test set, pays for a last
    generation that it never compares, cannot be resumed, draws for ever when no network meets the budget, and
    mixes parents of different depth into a malformed child when it has failed to find equal ones.
    """

    population: int = 50
    parents: int = 10
    mutants: int = 25
    crossovers: int = 25
    stage_rate: float = 0.4
    block_rate: float = 0.2

    def __post_init__(self) -> None:
        if self.population < 1 or self.parents < 1:
            raise ValueError(
                "Evolution needs a population and parents of at least 1, "
                f"but got population={self.population}, parents={self.parents}."
            )
        if min(self.mutants, self.crossovers) < 0 or self.mutants + self.crossovers > self.population:
            raise ValueError(
                "mutants + crossovers must fit into the population, but got "
                f"{self.mutants} + {self.crossovers} and population={self.population}."
            )
        if not (0 <= self.stage_rate <= 1 and 0 <= self.block_rate <= 1):
            raise ValueError(
                f"Rates lie between 0 and 1, but got stage_rate={self.stage_rate}, block_rate={self.block_rate}."
            )

    def propose(
        self,
        space: Backbone,
        history: Sequence[Candidate],
        *,
        generation: int,
        rng: random.Random,
        feasible: Feasible,
    ) -> Proposals:
        """Mutants, crossovers and, for what is missing, random networks."""
        seen = {candidate.arch for candidate in history}
        # The sort is stable: of equal scores the earlier one stays ahead.
        best = [c.arch for c in sorted(history, key=lambda c: -c.score)[: self.parents]]
        decisions = {arch: picks(space, arch).keys() for arch in best}

        def mutant() -> Backbone | None:
            return mutate(space, rng.choice(best), rng, stage_rate=self.stage_rate, block_rate=self.block_rate)

        def crossover() -> Backbone | None:
            for _ in range(1 + MATES):
                a, b = rng.choice(best), rng.choice(best)
                if decisions[a] == decisions[b]:
                    return cross(space, a, b, rng)
            return None

        proposals: Proposals = []
        if best:
            proposals += _breed(mutant, self.mutants, feasible=feasible, seen=seen, origin="mutation")
            proposals += _breed(crossover, self.crossovers, feasible=feasible, seen=seen, origin="crossover")
        missing = self.population - len(proposals)
        return proposals + [(arch, "random") for arch in draw(space, missing, rng=rng, feasible=feasible, seen=seen)]


def _breed(
    child: Callable[[], Backbone | None], count: int, *, feasible: Feasible, seen: set[Backbone], origin: str
) -> Proposals:
    """Up to `count` new feasible children, in bounded draws; `seen` grows by them."""
    found: Proposals = []
    for _ in range(count * DRAWS):
        if len(found) == count:
            break
        arch = child()
        if arch is None or arch in seen or not feasible(arch):
            continue
        seen.add(arch)
        found.append((arch, origin))
    return found
