from __future__ import annotations

import random

import numpy as np
import pytest

from vitesse.arch import cost, largest, sample, smallest
from vitesse.errors import UsageError
from vitesse.search import LatencyModel, sample_for_fit
from vitesse.search import latency as module


def true_ms(arch) -> float:
    return 0.3 * arch.stages[0].depth + cost(arch).macs / 1e5


def test_a_linear_latency_is_learnt(toy) -> None:
    archs = sample_for_fit(toy.space, 40, rng=random.Random(0))
    model = LatencyModel.fit(archs, [true_ms(arch) for arch in archs])
    rng = random.Random(1)
    others = [sample(toy.space, rng) for _ in range(50)]
    spread = np.std([true_ms(arch) for arch in others])
    errors = [abs(model.predict(arch) - true_ms(arch)) for arch in others]
    assert np.mean(errors) < 0.02 * spread
    assert model.error_ms < 0.02 * spread
    assert model.error_ms <= model.error_p90_ms


def test_the_error_is_that_of_fits_without_each_network(toy) -> None:
    archs = sample_for_fit(toy.space, 15, rng=random.Random(0))
    x = np.array([module.features(arch) for arch in archs])
    noise = np.random.default_rng(0).normal(0, 0.2, len(archs))
    y = np.array([true_ms(arch) for arch in archs]) + noise
    z = (x - x.mean(0)) / np.where(x.std(0) == 0, 1, x.std(0))
    penalty = 0.7
    closed = module._left_out(z, y, penalty)
    for i in range(len(y)):
        rest = np.arange(len(y)) != i
        design = np.c_[np.ones(rest.sum()), z[rest]]
        ridge = np.diag([0.0] + [penalty] * z.shape[1])  # the intercept is not penalised
        weights = np.linalg.solve(design.T @ design + ridge, design.T @ y[rest])
        assert closed[i] == pytest.approx(y[i] - np.r_[1.0, z[i]] @ weights)


def test_the_error_reports_noise(toy) -> None:
    archs = sample_for_fit(toy.space, 60, rng=random.Random(0))
    noise = np.random.default_rng(0).normal(0, 0.3, len(archs))
    exact = np.array([10 + true_ms(arch) for arch in archs])
    model = LatencyModel.fit(archs, list(exact + noise))
    assert 0.15 < model.error_ms < 0.45
    assert model.error_p90_ms > 1.5 * model.error_ms


def test_the_sample_spans_the_costs(toy) -> None:
    archs = sample_for_fit(toy.space, 30, rng=random.Random(0))
    macs = np.array([cost(arch).macs for arch in archs], dtype=float)
    low, high = cost(smallest(toy.space)).macs, cost(largest(toy.space)).macs
    assert 28 <= len(set(archs)) == len(archs)  # near the ends there is little to choose from
    assert macs.min() == low
    assert macs.max() == high
    filled, _ = np.histogram(macs, bins=5, range=(low, high))
    assert filled.min() >= 2  # uniform draws leave the top bin empty
    assert sample_for_fit(toy.space, 30, rng=random.Random(0)) == archs


@pytest.mark.parametrize("times", [[1.0, 2.0], [1.0, 2.0, -1.0], [1.0, 2.0, float("nan")]])
def test_measurements_are_checked(toy, times) -> None:
    archs = sample_for_fit(toy.space, 3, rng=random.Random(0))
    with pytest.raises(UsageError, match="latency model needs"):
        LatencyModel.fit(archs, times)
    with pytest.raises(UsageError, match="at least 2"):
        sample_for_fit(toy.space, 1, rng=random.Random(0))
