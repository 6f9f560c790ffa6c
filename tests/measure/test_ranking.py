from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from vitesse.errors import UsageError
from vitesse.measure import ranking
from vitesse.measure.ranking import rank_report


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand take seconds for each report."""
    monkeypatch.setattr(ranking, "RESAMPLES", 200)


def noisy(n: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    true = rng.normal(size=n)
    return true + noise * rng.normal(size=n), true


def test_values_by_hand() -> None:
    """Pairs of (1,2), (2,1), (3,3), (4,4): five agree, one does not."""
    report = rank_report([1, 2, 3, 4], [2, 1, 3, 4], seed=0)
    assert report.networks == 4
    assert report.tau.value == pytest.approx(4 / 6)
    assert report.rho.value == pytest.approx(0.8)
    assert report.tau_top_half.value == pytest.approx(1.0)
    assert report.precision_top.value == 1.0
    assert report.regret.value == 0.0


def test_ties_count_as_tau_b() -> None:
    """One pair tied in the prediction alone: (5 - 0) / sqrt(5 * 6)."""
    report = rank_report([1, 1, 2, 3], [1, 2, 3, 4], seed=0)
    assert report.tau.value == pytest.approx(5 / 30**0.5)


def test_a_good_total_can_hide_a_useless_top() -> None:
    true = np.arange(200.0)
    predicted = true.copy()
    predicted[100:] = predicted[100:][::-1]
    report = rank_report(predicted, true, seed=0)
    assert report.tau.value > 0.45
    assert report.tau_top_half.value == pytest.approx(-1.0)
    assert report.precision_top.value == 0.0
    assert report.regret.value == 99.0


def test_regret_is_in_the_unit_of_the_true_score() -> None:
    assert rank_report([0, 9, 1, 2], [70.0, 74.5, 76.0, 60.0], seed=0).regret.value == 1.5


def test_bigger_is_better_stands_beside_it() -> None:
    predicted, true = noisy(60, 1.0)
    report = rank_report(predicted, true, params=true, macs=-true, seed=0)
    assert report.tau_params is not None
    assert report.tau_macs is not None
    assert report.tau_params.value == pytest.approx(1.0)
    assert report.tau_macs.value == pytest.approx(-1.0)
    bare = rank_report(predicted, true, seed=0)
    assert bare.tau_params is None
    assert bare.tau_macs is None


def test_intervals_hold_the_value_and_narrow_with_more_networks() -> None:
    few = rank_report(*noisy(20, 1.0), seed=0)
    many = rank_report(*noisy(200, 1.0), seed=0)
    for report in (few, many):
        assert report.tau.low < report.tau.value < report.tau.high
    assert many.tau.high - many.tau.low < 0.5 * (few.tau.high - few.tau.low)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    population, truth = noisy(2000, 1.0, seed=9)
    pairs = np.sign(np.subtract.outer(population, population)) * np.sign(np.subtract.outer(truth, truth))
    tau = pairs.sum() / (2000 * 1999)
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(5):
        rows = rng.choice(2000, 40, replace=False)
        report = rank_report(population[rows], truth[rows], seed=0)
        held += report.tau.low <= tau <= report.tau.high
    assert held >= 4


def test_the_seed_decides() -> None:
    predicted, true = noisy(30, 1.0)
    assert rank_report(predicted, true, seed=1) == rank_report(predicted, true, seed=1)
    assert rank_report(predicted, true, seed=1) != rank_report(predicted, true, seed=2)


def test_a_constant_orders_nothing() -> None:
    report = rank_report([5.0] * 10, list(range(10)), seed=0)
    assert report.tau.value == report.rho.value == report.tau_top_half.value == 0.0
    for estimate in dataclasses.astuple(report)[1:6]:
        assert np.all(np.isfinite(estimate))


@pytest.mark.parametrize(
    ("predicted", "true", "message"),
    [
        ([1, 2, 3], [1, 2, 3], "four or more"),
        ([1, 2, 3, 4], [1, 2, 3, 4, 5], "four or more"),
        ([1, 2, 3, float("nan")], [1, 2, 3, 4], "predicted"),
    ],
)
def test_what_cannot_be_compared_is_refused(predicted, true, message) -> None:
    with pytest.raises(UsageError, match=message):
        rank_report(predicted, true, seed=0)
