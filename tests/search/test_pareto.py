from __future__ import annotations

import random

import pytest

from vitesse.arch import largest, sample, smallest
from vitesse.errors import UsageError, VitesseError
from vitesse.search import Candidate, finalists, front, winner


def made(toy, *points: tuple[float, ...]) -> list[Candidate]:
    rng = random.Random(0)
    return [
        Candidate(
            arch=sample(toy.space, rng),
            score=score,
            costs=dict(zip(("params", "macs"), costs, strict=False)),
            origin="random",
            generation=0,
        )
        for score, *costs in points
    ]


def points(candidates) -> list[tuple[float, ...]]:
    return [(c.score, *c.costs.values()) for c in candidates]


def test_the_front_goes_from_cheap_to_dear_without_those_that_are_beaten(toy) -> None:
    found = made(toy, (0.9, 30.0), (0.5, 10.0), (0.5, 20.0), (0.7, 20.0), (0.4, 10.0))
    assert points(front(found, ["params"])) == [(0.5, 10.0), (0.7, 20.0), (0.9, 30.0)]


def test_the_front_agrees_with_its_definition(toy) -> None:
    rng = random.Random(1)
    found = made(toy, *((rng.randrange(8), rng.randrange(8), rng.randrange(8)) for _ in range(60)))

    def beats(a, b) -> bool:
        x, y = (a.score, -a.costs["params"], -a.costs["macs"]), (b.score, -b.costs["params"], -b.costs["macs"])
        return x != y and all(p >= q for p, q in zip(x, y, strict=True))

    expected = {points([c])[0] for c in found if not any(beats(other, c) for other in found)}
    result = points(front(found, ["params", "macs"]))
    assert set(result) == expected
    assert len(result) == len(expected)


def test_a_front_needs_a_cost(toy) -> None:
    with pytest.raises(UsageError, match="at least one cost"):
        front(made(toy, (1.0, 1.0)), [])


def test_the_winner_is_the_best_within_the_limits_and_of_equals_the_cheaper(toy) -> None:
    found = made(toy, (0.9, 50.0, 1.0), (0.8, 20.0, 5.0), (0.8, 20.0, 4.0), (0.8, 30.0, 1.0))
    assert winner(found, {"params": 40.0}) is found[2]
    assert winner(found, {"params": 40.0, "macs": 2.0}) is found[3]
    assert winner(found, {}) is found[0]


def test_no_winner_is_an_error(toy) -> None:
    with pytest.raises(VitesseError, match="within the limits"):
        winner(made(toy, (0.9, 50.0)), {"params": 40.0})


def test_finalists_are_far_apart(toy) -> None:
    big, small = largest(toy.space), smallest(toy.space)
    found = made(toy, *((0.8 - i / 1000, 1.0) for i in range(20)))
    stage = big.stages[0]
    near = type(big)(stem=big.stem, head=big.head, stages=(type(stage)(dim=24, depth=stage.depth, block=stage.block),))
    head = [
        Candidate(arch=arch, score=score, costs={"params": 1.0}, origin="random", generation=0)
        for arch, score in ((big, 0.99), (near, 0.98), (small, 0.5))
    ]
    chosen = finalists(head + found, {}, 3)
    assert chosen[0] is head[0]
    assert head[2] in chosen  # the last of all by score, and the least like the winner
    assert head[1] not in chosen  # one decision away from the winner
    assert len({c.arch for c in chosen}) == 3
    assert [c.score for c in chosen] == sorted((c.score for c in chosen), reverse=True)


def test_finalists_come_from_the_best(toy) -> None:
    found = made(toy, *((1 - i / 100, 1.0) for i in range(60)))
    assert min(c.score for c in finalists(found, {}, 2)) >= 1 - 19 / 100


def test_finalists_are_distinct_even_where_candidates_are_not(toy) -> None:
    once = made(toy, (0.5, 1.0))
    assert len(finalists(once * 3, {}, 3)) == 1
