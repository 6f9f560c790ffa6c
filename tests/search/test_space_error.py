from __future__ import annotations

import numpy as np
import pytest

from vitesse.search.space_error import expected_and_top, resampled, space_error


def test_a_space_of_one_error_has_that_error() -> None:
    found = space_error([0.3] * 40, top=0.05)
    assert (found.expected, found.top, found.both) == pytest.approx((0.3, 0.3, 0.3))
    assert max(found.expected_error, found.top_error, found.both_error) < 1e-12


def test_the_published_numbers_thousand_networks_and_the_best_fifty() -> None:
    errors = np.random.default_rng(0).permutation(np.linspace(0.1, 0.5, 1000))
    found = space_error(errors.tolist(), top=0.05)
    assert found.expected == pytest.approx(errors.mean())
    assert found.top == pytest.approx(np.sort(errors)[:50].mean())
    assert found.both == pytest.approx((found.expected + found.top) / 2)
    assert found.both <= found.expected


def test_the_standard_error_is_that_of_other_samples() -> None:
    rng = np.random.default_rng(1)
    samples = rng.normal(0.3, 0.05, size=(300, 200))
    spread = np.std([sample.mean() for sample in samples])
    assert space_error(samples[0].tolist(), top=0.1).expected_error == pytest.approx(spread, rel=0.25)


def test_weights_count_as_so_many_networks_would() -> None:
    errors, weights = np.array([0.4, 0.1, 0.3]), np.array([[2.0, 1.0, 3.0], [0.0, 0.0, 0.0]])
    expected, top = expected_and_top(errors, weights, top=1 / 3)
    assert expected[0] == pytest.approx((0.8 + 0.1 + 0.9) / 6)
    assert top[0] == pytest.approx((0.1 + 0.3) / 2)  # the best two of six
    assert np.isnan(expected[1]) and np.isnan(top[1])


def test_resamples_are_of_the_same_size_and_seeded() -> None:
    rows = resampled(30, seed=3)
    assert (rows.sum(axis=1) == 30).all() and rows.std() > 0
    assert (rows == resampled(30, seed=3)).all() and (rows != resampled(30, seed=4)).any()
