from __future__ import annotations

import random

import optuna
import pytest

from vitesse.arch import sample
from vitesse.errors import UsageError
from vitesse.search import NSGA2, Candidate, RandomSearch, search


def area(candidates) -> float:
    """The area under the front between 0 and 60,000 parameters."""
    total, best = 0.0, 0.0
    points = sorted((c.costs["params"], c.score) for c in candidates)
    for (left, gain), (right, _) in zip(points, [*points[1:], (60_000, 0)], strict=True):
        best = max(best, gain)
        total += best * (right - left)
    return total


def test_the_front_is_wider_than_by_chance(toy) -> None:
    def run(strategy, seed: int) -> float:
        return area(toy.evolve(strategy, score=toy.score, seed=seed, generations=10))

    evolved = [run(NSGA2(costs=("params",), population=20), seed) for seed in range(3)]
    drawn = [run(RandomSearch(population=20), seed) for seed in range(3)]
    assert sum(evolved) > 1.15 * sum(drawn)


def test_children_come_from_the_front(toy) -> None:
    found = toy.evolve(NSGA2(costs=("params",), population=20), score=toy.score, seed=0, generations=6)
    assert {c.origin for c in found if c.generation == 0} == {"random"}
    assert {c.origin for c in found if c.generation == 1} == {"nsga2"}
    scores = [c.score for c in found]
    assert max(scores) > max(scores[:20])
    assert sum(scores[-20:]) > 1.2 * sum(scores[:20])


def test_the_seed_decides(toy) -> None:
    rng = random.Random(0)
    first = NSGA2(population=8).propose(toy.space, [], generation=0, rng=rng, feasible=lambda a: True)
    past = [
        Candidate(arch=a, score=s, costs=toy.costs(a), origin=o, generation=0)
        for (a, o), s in zip(first, toy.score([a for a, _ in first]), strict=True)
    ]

    def children(seed: int):
        return NSGA2(population=8).propose(
            toy.space, past, generation=1, rng=random.Random(seed), feasible=lambda a: True
        )

    assert children(1) == children(1)
    assert children(1) != children(2)


def test_past_candidates_beyond_the_budget_lose_against_those_within(toy) -> None:
    """The score favours depth, but now only depth 4 is allowed: parents, and so children, are of depth 4."""
    able, beyond = [], []
    rng = random.Random(0)
    while len(able) < 20 or len(beyond) < 20:
        arch = sample(toy.space, rng)
        (able if arch.stages[0].depth == 4 else beyond).append(arch)
    past = [
        Candidate(arch=arch, score=value, costs={"none": 0.0}, origin="random", generation=generation)
        for generation, (archs, value) in enumerate([(beyond[:20], 2.0), (able[:20], 1.0)])
        for arch in archs
    ]
    asked = []

    def feasible(arch) -> bool:
        asked.append(arch.stages[0].depth == 4)
        return asked[-1]

    found = NSGA2(costs=("none",), population=20).propose(
        toy.space, past, generation=2, rng=random.Random(0), feasible=feasible
    )
    assert len(found) == 20
    children = asked[len(past) :]
    assert sum(children) > 0.6 * len(children)


def test_an_unknown_cost_is_refused(toy) -> None:
    archs = [
        a
        for a, _ in NSGA2(population=2).propose(
            toy.space, [], generation=0, rng=random.Random(0), feasible=lambda a: True
        )
    ]
    past = [Candidate(arch=a, score=0.0, costs=toy.costs(a), origin="random", generation=0) for a in archs]
    with pytest.raises(UsageError, match="watts"):
        NSGA2(costs=("watts",)).propose(toy.space, past, generation=1, rng=random.Random(0), feasible=lambda a: True)


def test_optuna_is_left_as_talkative_as_it_was(toy, tmp_path, capfd) -> None:
    before = optuna.logging.get_verbosity()
    search(
        toy.space,
        strategy=NSGA2(population=4),
        score=toy.score,
        costs=toy.costs,
        limits={},
        storage=tmp_path / "study.db",
        seed=0,
        generations=3,
    )
    assert optuna.logging.get_verbosity() == before
    said = capfd.readouterr()
    assert said.out == said.err == ""


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="population"):
        NSGA2(population=1)
