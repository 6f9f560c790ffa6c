from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitesse.data.published_random import PublishedRandom

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "tinyvit_aug_random_A.json").read_text())


@pytest.mark.parametrize("record", GOLDEN["sequences"], ids=lambda record: str(record["seed"]))
def test_it_draws_what_the_published_source_drew(record: dict[str, Any]) -> None:
    rng = PublishedRandom(record["seed"])
    drawn = {
        "random": [rng.random() for _ in range(4)],
        "uniform": [rng.uniform(-2, 5) for _ in range(3)],
        "randint": [rng.randint(0, 9) for _ in range(6)],
        "gauss": [rng.gauss(1, 2) for _ in range(3)],
        "np_randint": rng.np_randint(-100, 100, 5).tolist(),
        "np_rand": rng.np_rand(2, 2).tolist(),
        "np_beta": [rng.np_beta(0.8, 0.8), rng.np_beta(1.0, 1.0)],
        "np_choice": rng.np_choice(7, 4, replace=False).tolist(),
    }
    assert {"seed": record["seed"], **drawn} == record


def test_whole_numbers_stay_within_their_ends() -> None:
    rng = PublishedRandom(5)
    assert {rng.randint(-2, 2) for _ in range(300)} == {-2, -1, 0, 1, 2}
    assert {rng.np_randint(3) for _ in range(100)} == {0, 1, 2}
    assert rng.np_randint(0, 4, (2, 3)).shape == (2, 3)


def test_no_global_state_is_touched() -> None:
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    first, second = PublishedRandom(1), PublishedRandom(1)
    assert (first.np_normal(), first.np_rand()) == (second.np_normal(), second.np_rand())
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
