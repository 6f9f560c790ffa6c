from __future__ import annotations

import math

import pytest

from vitesse.arch import smallest
from vitesse.search import Candidate


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_score_is_finite(toy, score) -> None:
    with pytest.raises(ValueError, match="finite"):
        Candidate(arch=smallest(toy.space), score=score, costs={}, origin="random", generation=0)


def test_a_generation_is_not_negative(toy) -> None:
    with pytest.raises(ValueError, match="generation"):
        Candidate(arch=smallest(toy.space), score=0.0, costs={}, origin="random", generation=-1)
