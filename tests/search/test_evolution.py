from __future__ import annotations

import random
from collections import Counter

import pytest

from vitesse.arch import picks, sample
from vitesse.search import Candidate, Evolution, RandomSearch


def history(toy, count: int) -> list[Candidate]:
    rng = random.Random(3)
    archs = list({sample(toy.space, rng): None for _ in range(count)})
    scores = toy.score(archs)
    return [
        Candidate(arch=a, score=s, costs=toy.costs(a), origin="random", generation=0)
        for a, s in zip(archs, scores, strict=True)
    ]


def anything(arch) -> bool:
    return True


def propose(toy, past, feasible=anything, **settings):
    return Evolution(**settings).propose(
        toy.space, past, generation=1 if past else 0, rng=random.Random(0), feasible=feasible
    )


def test_the_first_generation_is_random_and_the_next_as_published(toy) -> None:
    assert Counter(origin for _, origin in propose(toy, [])) == {"random": 50}
    assert Counter(origin for _, origin in propose(toy, history(toy, 50))) == {"mutation": 25, "crossover": 25}


def test_parents_are_the_best_ever_and_of_equals_the_earlier(toy) -> None:
    past = history(toy, 40)
    level = [Candidate(arch=c.arch, score=1.0, costs=c.costs, origin="random", generation=0) for c in past]
    # With rates of 0 a mutant is its parent, which is never proposed again: only crossovers of the ten remain.
    found = propose(toy, level, stage_rate=0.0, block_rate=0.0)
    best = [picks(toy.space, c.arch) for c in level[:10]]
    crossovers = [arch for arch, origin in found if origin == "crossover"]
    assert crossovers
    assert "mutation" not in {origin for _, origin in found}
    for arch in crossovers:
        taken = picks(toy.space, arch)
        mates = [parent for parent in best if parent.keys() == taken.keys()]
        assert all(any(parent[path] == option for parent in mates) for path, option in taken.items())


def test_parents_of_unlike_depth_are_never_mixed(toy) -> None:
    by_depth = {c.arch.stages[0].depth: c for c in history(toy, 40)}
    # Two parents, one of each depth: only a parent with itself agrees, whose child is not new.
    found = propose(toy, [by_depth[4], by_depth[6]], parents=2)
    assert "crossover" not in {origin for _, origin in found}
    assert len(found) == 50


def test_phases_end_where_no_child_is_feasible(toy) -> None:
    asked = []

    def feasible(arch) -> bool:
        asked.append(arch)
        return False

    assert propose(toy, history(toy, 20), feasible=feasible, population=2, mutants=1, crossovers=1) == []
    assert asked


def test_evolution_beats_random_search_with_equal_evaluations(toy) -> None:
    def best(strategy, seed: int) -> float:
        found = toy.evolve(strategy, score=toy.score, seed=seed, generations=8)
        assert len(found) == 8 * 20
        return max(candidate.score for candidate in found)

    small = Evolution(population=20, parents=5, mutants=10, crossovers=10)
    evolved = [best(small, seed) for seed in range(4)]
    drawn = [best(RandomSearch(population=20), seed) for seed in range(4)]
    assert sum(evolved) / 4 > sum(drawn) / 4 + 0.1
    assert sum(evolved) / 4 > 0.9  # 1 is the planted optimum; among a million networks


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"population": 0}, "population"),
        ({"parents": 0}, "parents"),
        ({"mutants": 40, "crossovers": 40}, "fit into the population"),
        ({"mutants": -1}, "fit into the population"),
        ({"stage_rate": 1.5}, "between 0 and 1"),
    ],
)
def test_settings_are_checked(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        Evolution(**settings)
