"""What a search deals in: candidates, and the one thing that every strategy does, proposing more of them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from vitesse.arch import Backbone

Feasible = Callable[[Backbone], bool]
Proposals = list[tuple[Backbone, str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """An architecture that was scored: its score (more is better), its costs by name, and where it came from.

    `origin` says how it was proposed: "random", "mutation", "crossover", "nsga2", "contraction",
    "exchange", "board".
    """

    arch: Backbone
    score: float
    costs: Mapping[str, float]
    origin: str
    generation: int

    def __post_init__(self) -> None:
        if not math.isfinite(self.score):
            raise ValueError(f"A score must be a finite number, but got {self.score}. Mend what computes the score.")
        if self.generation < 0:
            raise ValueError(f"A generation must be at least 0, but got {self.generation}.")


class Strategy(Protocol):
    """A way to choose what to try next. Its `repr` names all its settings, so that a resumed search can be compared."""

    def propose(
        self,
        space: Backbone,
        history: Sequence[Candidate],
        *,
        generation: int,
        rng: random.Random,
        feasible: Feasible,
    ) -> Proposals:
        """The next generation as (arch, origin): feasible, distinct, none in `history`; empty when none is found.

        A pure function of its arguments: a search that was killed goes on exactly as it would have gone on.
        `history` holds the generations before this one, in the order in which they were proposed.
        """
