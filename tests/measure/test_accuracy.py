"""Accuracy counted exactly, its interval, and chance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vitesse.measure import Accuracy, chance_level, top1


@pytest.mark.parametrize("kind", [torch.tensor, np.array])
def test_top1_counts(kind) -> None:
    logits = kind([[0.1, 0.9], [0.8, 0.2], [0.3, 0.4]])
    assert top1(logits, kind([1, 1, 1])) == Accuracy(correct=2, total=3)


@given(st.integers(1, 200), st.lists(st.integers(1, 60), min_size=1, max_size=10), st.integers(0, 2**31))
def test_uneven_batches_add_up_exactly(total: int, sizes: list[int], seed: int) -> None:
    """The mean of batch accuracies is wrong where the last batch is short; counts are not."""
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(total, 5)), rng.integers(0, 5, total)
    score, at, turn = Accuracy(), 0, 0
    while at < total:
        step = sizes[turn % len(sizes)]
        score += top1(logits[at : at + step], labels[at : at + step])
        at, turn = at + step, turn + 1
    assert score == top1(logits, labels)
    assert score.value == np.mean(logits.argmax(1) == labels)


def test_a_row_with_nan_is_wrong() -> None:
    logits = torch.tensor([[float("nan"), 0.0], [1.0, 0.0]])
    assert top1(logits, torch.tensor([0, 0])).correct == 1


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(3,\)"):
        top1(torch.zeros(2, 3), torch.zeros(3))
    with pytest.raises(ValueError, match="classes"):
        top1(torch.zeros(3), torch.zeros(3))


def test_wilson_interval_against_published_values() -> None:
    """Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662; 0 of 20 gives 0 to 0.1611."""
    assert Accuracy(correct=81, total=263).interval() == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert Accuracy(correct=0, total=20).interval() == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert Accuracy(correct=20, total=20).interval() == pytest.approx((0.8389, 1.0), abs=5e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_interval_holds_the_share(counts: tuple[int, int]) -> None:
    score = Accuracy(correct=counts[0], total=counts[1])
    low, high = score.interval()
    assert 0 <= low <= score.value + 1e-12 and score.value - 1e-12 <= high <= 1


def test_an_untaught_network_does_not_beat_chance() -> None:
    assert not Accuracy(correct=12, total=100).beats(0.1)
    assert Accuracy(correct=30, total=100).beats(0.1)


def test_chance_is_the_most_frequent_label() -> None:
    assert chance_level([0, 1, 1, 1]) == 0.75
    assert chance_level(torch.tensor([3, 3, 4, 5])) == 0.5
    with pytest.raises(ValueError, match="at least one"):
        chance_level([])


def test_nothing_counted_has_no_value() -> None:
    with pytest.raises(ValueError, match="no images"):
        _ = Accuracy().value
    with pytest.raises(ValueError, match="correct=3, total=2"):
        Accuracy(correct=3, total=2)
    assert float(Accuracy(correct=1, total=4)) == Accuracy(correct=1, total=4).to_dict()["accuracy"] == 0.25
