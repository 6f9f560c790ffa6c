from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from tests.search.conftest import Toy

from vitesse.arch import picks, sample
from vitesse.arch.dimensions import Dimension, dimensions
from vitesse.search.evolving import EvolveSettings
from vitesse.search.space_trend import Trend, counted, trends

Decisions = Mapping[str, Any]
WIDTH = Dimension(name="dim", places=("dim",), options=(16, 24, 32), step=8, least=1)


def one_trend(error: Callable[[int], float], **settings: Any) -> Trend:
    """The trend of a width, which alone decides the error."""
    taken = [{"dim": option} for option in WIDTH.options for _ in range(20)]
    errors = [error(one["dim"]) for one in taken]
    return trends([WIDTH], taken, errors, settings=EvolveSettings(**settings), looks=1, seed=0)[0]


@pytest.mark.parametrize(
    ("slope", "rounding", "steps"),
    [(-0.005, "truncate", 2), (-0.005, "floor", 3), (-0.0047, "nearest", 2), (0.005, "truncate", -2), (0.005, "floor", -2),
     (-0.001, "truncate", 0), (-0.001, "floor", 1), (0.001, "floor", 0), (0.0, "floor", 0), (-0.0035, "nearest", 2),
     (-0.9, "truncate", 4)],
)  # fmt: skip
def test_a_line_moves_the_options_as_published(slope: float, rounding: str, steps: int) -> None:
    found = one_trend(lambda dim: 0.5 + slope * (dim - 16) / 8, rounding=rounding, threshold=0.002, most_steps=4)
    assert found.slope.value == pytest.approx(slope, abs=1e-12)
    assert (found.lower, found.upper, found.decided) == (steps, steps, True)


def test_raw_slopes_are_those_of_one_and_not_of_a_step() -> None:
    found = one_trend(lambda dim: 0.5 - 0.001 * dim, scale="raw", threshold=0.0005, most_steps=2)
    assert found.slope.value == pytest.approx(-0.008)  # told for a step of 8
    assert found.upper == 2


def test_the_ends_rule_narrows_around_an_optimum_inside() -> None:
    found = one_trend(lambda dim: 0.5 + abs(dim - 24) / 800, rule="ends")
    assert found.lower > 0 > found.upper
    flat = one_trend(lambda dim: 0.5 - abs(dim - 24) / 800, rule="ends")
    assert flat.lower < 0 < flat.upper
    assert one_trend(lambda dim: 0.5 + abs(dim - 24) / 800).upper == 0  # no line sees it


def test_an_end_moves_although_another_option_has_no_network() -> None:
    taken = [{"dim": option} for option in (24, 32) for _ in range(20)]
    errors = [0.5 - one["dim"] / 1000 for one in taken]
    found = trends([WIDTH], taken, errors, settings=EvolveSettings(rule="ends"), looks=1, seed=0)[0]
    assert (found.lower, found.upper) == (0, 1)


def test_in_doubt_nothing_moves() -> None:
    rng = random.Random(0)
    found = one_trend(lambda dim: 0.5 - 0.003 * (dim - 16) / 8 + rng.gauss(0, 0.05))
    assert (found.lower, found.upper, found.decided) == (0, 0, False)


def test_an_option_that_no_network_has_is_left_out() -> None:
    taken = [{"dim": option} for option in (16, 24) for _ in range(20)]
    found = trends(
        [WIDTH], taken, [0.5 - one["dim"] / 1000 for one in taken], settings=EvolveSettings(), looks=1, seed=0
    )
    assert found[0].choices[2] is None
    assert found[0].slope.value == pytest.approx(-0.008)
    alone = trends([WIDTH], taken[:20], [0.5] * 20, settings=EvolveSettings(), looks=1, seed=0)[0]
    assert not alone.decided and alone.upper == 0


def test_the_slope_of_blocks_is_that_of_all_of_them_together(toy: Toy) -> None:
    """Errors that depend on the mean of the blocks' heads alone, by 0.02 a step."""
    rng = random.Random(0)
    archs = [sample(toy.space, rng) for _ in range(400)]
    taken = [picks(toy.space, arch) for arch in archs]
    found = {one.name: one for one in dimensions(toy.space)}
    heads = found["stages.0.blocks.0.heads"]
    shares, means = counted(heads, taken)
    assert shares.sum(axis=1) == pytest.approx(1.0)  # over all options every network counts once
    told = trends(
        list(found.values()), taken, (0.5 - 0.02 * means).tolist(), settings=EvolveSettings(top=1.0), looks=1, seed=0
    )
    slopes = {one.dimension.name: one.slope for one in told}
    assert slopes[heads.name].value == pytest.approx(-0.02, rel=0.02)
    assert slopes["stages.0.dim"].low < 0 < slopes["stages.0.dim"].high


def test_intervals_hold_what_they_promise() -> None:
    """Of samples without any trend no more than the chance to be wrong says otherwise (with room for the draw of samples)."""
    wrong = 0
    for seed in range(40):
        rng = random.Random(seed)
        taken = [{"dim": rng.choice(WIDTH.options)} for _ in range(120)]
        errors = [rng.gauss(0.5, 0.05) for _ in taken]
        settings = EvolveSettings(top=1.0, threshold=1e-9, confidence=0.9)
        slope = trends([WIDTH], taken, errors, settings=settings, looks=1, seed=seed)[0].slope
        wrong += not slope.low < 0 < slope.high
    assert 1 <= wrong <= 9
