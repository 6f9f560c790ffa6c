from __future__ import annotations

import random
from typing import Any

import pytest

from vitesse.arch import Backbone, contains, cost, largest, picks, smallest
from vitesse.search import Candidate, Contraction


def candidate(toy: Any, arch: Backbone, score: float, generation: int) -> Candidate:
    return Candidate(arch=arch, score=score, costs=toy.costs(arch), origin="contraction", generation=generation)


def propose(
    toy: Any, history: list[Candidate], able: Any = lambda arch: True, **settings: Any
) -> list[tuple[Backbone, str]]:
    strategy = Contraction(**{"population": 8, **settings})
    return strategy.propose(toy.space, history, generation=len(history), rng=random.Random(0), feasible=able)


def test_it_begins_with_the_largest(toy: Any) -> None:
    assert propose(toy, [])[0] == (largest(toy.space), "contraction")


def test_a_step_is_one_factor_of_a_stage_one_option_down(toy: Any) -> None:
    """Width, depth, heads of all blocks, ratio of all blocks: four factors, four neighbours."""
    whole = largest(toy.space)
    found = [arch for arch, origin in propose(toy, [candidate(toy, whole, 1.0, 0)]) if origin == "contraction"][:4]
    before, changes = picks(toy.space, whole), []
    for arch in found:
        after = picks(toy.space, arch)
        changes.append(
            sorted({(path.rpartition(".")[2], after[path]) for path in after if after[path] != before[path]})
        )
    assert sorted(changes) == [[("depth", 5)], [("dim", 24)], [("heads", 2)], [("ratio", 2.0)]]
    assert all(len({str(block) for block in arch.stages[0].blocks}) == 1 for arch in found)


def test_what_meets_the_limits_is_reached_by_contraction(toy: Any) -> None:
    limit = (cost(smallest(toy.space)).params + cost(largest(toy.space)).params) / 2
    found = propose(toy, [], able=lambda arch: cost(arch).params <= limit)
    assert {origin for _, origin in found} == {"contraction"}
    for arch, _ in found:
        assert contains(toy.space, arch) and cost(arch).params <= limit
        # Nothing is drawn at random where contraction finds enough: the blocks are alike.
        assert len({str(block) for block in arch.stages[0].blocks}) == 1


def test_at_the_limit_factors_are_exchanged(toy: Any) -> None:
    """Nothing smaller is new any more: one factor of the best grows, others shrink until the limit is met again."""
    limit = (cost(smallest(toy.space)).params + cost(largest(toy.space)).params) / 2

    def able(arch: Backbone) -> bool:
        return cost(arch).params <= limit

    best, _ = propose(toy, [], able=able)[0]
    found = propose(toy, [candidate(toy, best, 1.0, 0)], able=able, population=12)
    traded = [arch for arch, origin in found if origin == "exchange"]
    assert traded and all(able(arch) for arch in traded)
    before = picks(toy.space, best)
    for arch in traded:
        after = picks(toy.space, arch)
        shared = [path for path in after if path in before]
        assert any(after[path] > before[path] for path in shared) or arch.stages[0].depth > best.stages[0].depth


def test_it_ends_when_nothing_gets_better(toy: Any) -> None:
    archs = [arch for arch, _ in propose(toy, [], able=lambda arch: cost(arch).params < 30_000)]
    history = [candidate(toy, arch, -float(place), place) for place, arch in enumerate(archs[:4])]
    assert propose(toy, history[:3]) and not propose(toy, history)
    assert propose(toy, history, patience=4)


def test_it_finds_the_planted_optimum(toy: Any) -> None:
    history = toy.evolve(Contraction(population=12), score=toy.score, seed=0, generations=8)
    assert max(one.score for one in history) == 1.0


@pytest.mark.parametrize("setting", ["population", "patience"])
def test_settings_are_checked(setting: str) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Contraction(**{setting: 0})
