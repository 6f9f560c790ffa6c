"""A toy space and a toy score with a planted optimum; no networks are built."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import pytest

from vitesse.arch import MLP, Attention, Backbone, Block, Choice, Head, PatchEmbed, Stage, cost, picks
from vitesse.search import Candidate, Strategy

Score = Callable[[Sequence[Backbone]], Sequence[float]]


class Toy(Protocol):
    """What tests know about the toy: its space, its costs, its score, and a search that nothing writes down."""

    space: Backbone

    def costs(self, arch: Backbone) -> Mapping[str, float]: ...

    def score(self, archs: Sequence[Backbone]) -> list[float]: ...

    def evolve(self, strategy: Strategy, *, score: Score, seed: int, generations: int) -> list[Candidate]: ...


class _Toy:
    space = Backbone(
        stem=PatchEmbed(image=(16, 16), patch=(8, 8)),
        stages=(
            Stage(
                dim=Choice(16, 24, 32),
                depth=Choice(4, 5, 6),
                block=Block(Attention(heads=Choice(1, 2, 3), head_dim=8), MLP(ratio=Choice(1.0, 2.0, 3.0))),
            ),
        ),
        head=Head(classes=10),
    )

    def costs(self, arch: Backbone) -> Mapping[str, float]:
        return {"params": cost(arch).params, "macs": cost(arch).macs}

    def score(self, archs: Sequence[Backbone]) -> list[float]:
        return [self._one(arch) for arch in archs]

    def evolve(self, strategy: Strategy, *, score: Score, seed: int, generations: int) -> list[Candidate]:
        history: list[Candidate] = []
        for generation in range(generations):
            proposals = strategy.propose(
                self.space,
                history,
                generation=generation,
                rng=random.Random(f"{seed}/{generation}"),
                feasible=lambda arch: True,
            )
            scores = score([arch for arch, _ in proposals])
            history = history + [
                Candidate(arch=arch, score=value, costs=self.costs(arch), origin=origin, generation=generation)
                for (arch, origin), value in zip(proposals, scores, strict=True)
            ]
        return history

    def _one(self, arch: Backbone) -> float:
        """The share of decisions that agree with the planted optimum: 5 blocks of width 24, every block (2, 2.0)."""
        wanted = {"dim": 24, "depth": 5, "heads": 2, "ratio": 2.0}
        taken = picks(self.space, arch)
        agreeing = [option == wanted[path.rsplit(".", 1)[1]] for path, option in taken.items()]
        return sum(agreeing) / len(agreeing)


@pytest.fixture
def toy() -> Toy:
    return _Toy()
