from __future__ import annotations

import random

import pytest

from vitesse.arch import cost, largest, sample, size, smallest
from vitesse.errors import VitesseError
from vitesse.search.draw import draw, repair


def test_draws_are_new_distinct_and_feasible(toy) -> None:
    seen = {sample(toy.space, random.Random(1)) for _ in range(5)}
    limit = cost(sample(toy.space, random.Random(2))).params
    found = draw(toy.space, 30, rng=random.Random(1), feasible=lambda a: cost(a).params <= limit, seen=seen)
    assert len(set(found)) == 30
    assert not seen & set(found)
    assert all(cost(arch).params <= limit for arch in found)


def test_repair_reaches_a_budget_that_draws_never_hit(toy) -> None:
    limit = cost(smallest(toy.space)).params * 1.13
    rng = random.Random(0)
    assert not any(cost(sample(toy.space, rng)).params <= limit for _ in range(1000))
    found = draw(toy.space, 3, rng=rng, feasible=lambda a: cost(a).params <= limit)
    assert len(set(found)) == 3
    assert all(cost(arch).params <= limit for arch in found)


def test_repair_leaves_a_feasible_network_alone_and_gives_up_at_the_smallest(toy) -> None:
    top = largest(toy.space)
    assert repair(toy.space, top, rng=random.Random(0), feasible=lambda a: True) == top
    assert repair(toy.space, top, rng=random.Random(0), feasible=lambda a: False) is None


def test_an_impossible_budget_is_an_error_and_an_exhausted_one_is_not(toy) -> None:
    with pytest.raises(VitesseError, match="meet the budget"):
        draw(toy.space, 2, rng=random.Random(0), feasible=lambda a: False)
    only = smallest(toy.space)
    assert draw(toy.space, 2, rng=random.Random(0), feasible=lambda a: a == only) == [only]
    assert draw(toy.space, 2, rng=random.Random(0), feasible=lambda a: a == only, seen=[only]) == []
    assert size(toy.space) > 1000
