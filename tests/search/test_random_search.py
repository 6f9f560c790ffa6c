from __future__ import annotations

import random
from collections import Counter

import pytest

from vitesse.search import RandomSearch


def test_decisions_are_uniform(toy) -> None:
    found = RandomSearch(population=600).propose(
        toy.space, [], generation=0, rng=random.Random(0), feasible=lambda arch: True
    )
    depths = Counter(arch.stages[0].depth for arch, _ in found)
    assert len(found) == 600
    assert all(abs(depths[depth] - 200) < 60 for depth in (4, 5, 6))  # 5 standard deviations


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="population"):
        RandomSearch(population=0)
