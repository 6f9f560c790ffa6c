"""Timing and verdicts, on a clock of our own: no test here waits for the machine."""

from __future__ import annotations

import gc
import itertools
import json
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitesse.measure import Latency, compare, time_interleaved
from vitesse.measure.latency import quantile


class Clock:
    """A clock that only moves when a call says what it took."""

    def __init__(self) -> None:
        self.now = 100.0
        self.calls: list[str] = []

    def __call__(self) -> float:
        return self.now

    def call(self, name: str, seconds: float = 1e-3):
        def run() -> None:
            self.calls.append(name)
            self.now += seconds

        return run


def test_every_round_calls_each_once_after_the_warmup() -> None:
    clock = Clock()
    calls = {name: clock.call(name, cost) for name, cost in (("a", 1e-3), ("b", 2e-3), ("c", 3e-3))}
    found = time_interleaved(calls, rounds=30, warmup=4, clock=clock)
    rounds = [clock.calls[at : at + 6] for at in range(0, len(clock.calls), 6)]
    assert len(rounds) == 34
    assert all(sorted(one) == ["a", "a", "b", "b", "c", "c"] for one in rounds)
    assert [found[name].rounds for name in "abc"] == [30, 30, 30]
    assert [found[name].median_ms for name in "abc"] == pytest.approx([1, 2, 3])


def test_every_call_follows_every_other_equally_often() -> None:
    clock = Clock()
    time_interleaved({name: clock.call(name) for name in "abc"}, rounds=300, warmup=0, clock=clock)
    turns = clock.calls[::2]
    assert turns == clock.calls[1::2]
    pairs = list(itertools.pairwise(turns))
    for name in "abc":
        before = [first for first, then in pairs if then == name]
        assert all(before.count(other) > 110 for other in "abc" if other != name)


def test_a_call_is_timed_with_its_own_data_in_the_caches() -> None:
    """What it costs to come after another is not counted: the same call comes once untimed before it."""
    clock, last = Clock(), [""]

    def cached(name: str):
        def run() -> None:
            clock.now += 1e-3 if last[0] == name else 5e-3
            last[0] = name

        return run

    found = time_interleaved({"a": cached("a"), "b": cached("b")}, rounds=20, clock=clock)
    assert found["a"].p90_ms == pytest.approx(1) and found["b"].p90_ms == pytest.approx(1)


def test_drift_of_the_machine_cancels() -> None:
    """The machine gets three times slower while measuring; the ratio of the same round stays."""
    clock, noise = Clock(), random.Random(1)

    def slowing(share: float):
        def run() -> None:
            clock.now += share * (1 + len(clock.calls) / 100) * 1e-3 * noise.uniform(0.99, 1.01)
            clock.calls.append("")

        return run

    found = time_interleaved({"a": slowing(1.0), "b": slowing(1.3)}, rounds=100, warmup=0, clock=clock)
    assert found["a"].spread > 0.5
    comparison = compare(found["a"], found["b"])
    assert comparison.decided
    assert comparison.ratio == pytest.approx(1.3, abs=0.05)


def test_seconds_end_the_measuring_but_some_rounds_are_always_timed() -> None:
    clock = Clock()
    found = time_interleaved({"a": clock.call("a", 1.0)}, rounds=100, warmup=50, seconds=10, clock=clock)
    assert found["a"].rounds < 10
    assert clock.now - 100 <= 13
    assert time_interleaved({"a": clock.call("a", 99.0)}, rounds=5, warmup=5, seconds=1, clock=clock)["a"].rounds == 1
    slow = {"a": clock.call("a", 99.0)}
    assert time_interleaved(slow, rounds=5, warmup=5, seconds=1, at_least=3, clock=clock)["a"].rounds == 3


def test_progress_is_told_and_collection_is_restored() -> None:
    clock, told = Clock(), []
    states = []
    time_interleaved({"a": lambda: (states.append(gc.isenabled()), setattr(clock, "now", clock.now + 1))},
                     rounds=3, warmup=1, progress=lambda *step: told.append(step), clock=clock)  # fmt: skip
    assert [step[:2] for step in told] == [(1, 3), (2, 3), (3, 3)]
    assert states == [False] * 8
    assert gc.isenabled()


def test_collection_is_restored_after_a_failing_call() -> None:
    with pytest.raises(ZeroDivisionError):
        time_interleaved({"a": lambda: 1 / 0})
    assert gc.isenabled()


@pytest.mark.parametrize("wrong", [{"calls": {}}, {"rounds": 0}, {"warmup": -1}])
def test_wrong_requests(wrong: dict) -> None:
    with pytest.raises(ValueError, match="must"):
        time_interleaved(**{"calls": {"a": int}, **wrong})


def of(values) -> Latency:
    return Latency(samples_ms=tuple(float(value) for value in values))


def test_no_verdict_where_the_noise_exceeds_the_difference() -> None:
    rng = np.random.default_rng(0)
    a, b = of(rng.normal(10, 1, 200)), of(rng.normal(10.3, 1, 200))
    assert not compare(a, b).decided
    assert compare(a, b).verdict.startswith("no verdict")


def test_a_clear_difference_is_named_with_its_ratio() -> None:
    rng = np.random.default_rng(0)
    slow = rng.normal(10, 0.2, 50)
    assert compare(of(slow), of(slow / 2)).verdict == "2.00 times faster (2.00 to 2.00)"
    assert compare(of(slow / 2), of(slow)).verdict == "2.00 times slower (2.00 to 2.00)"


def test_few_rounds_give_no_verdict_however_clear() -> None:
    comparison = compare(of([1] * 9), of([5] * 9))
    assert not comparison.decided and "9 rounds" in comparison.verdict
    assert compare(of([1] * 10), of([5] * 10)).decided


def test_a_network_against_itself_is_hardly_ever_decided() -> None:
    rng = np.random.default_rng(3)
    pairs = [(of(rng.gamma(20, 0.5, 50)), of(rng.gamma(20, 0.5, 50))) for _ in range(200)]
    assert sum(compare(a, b).decided for a, b in pairs) == 0


def test_rounds_must_match() -> None:
    with pytest.raises(ValueError, match="3 and 2 rounds"):
        compare(of([1, 2, 3]), of([1, 2]))


@given(st.lists(st.floats(0.01, 1e4), min_size=10, max_size=40), st.randoms(use_true_random=False))
def test_comparing_is_antisymmetric(values: list[float], rng: random.Random) -> None:
    a, b = of(values), of(rng.sample(values, len(values)))
    there, back = compare(a, b), compare(b, a)
    assert (there.low, there.ratio, there.high) == pytest.approx((1 / back.high, 1 / back.ratio, 1 / back.low))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.floats(0, 1))
def test_quantile_is_numpys(values: list[float], share: float) -> None:
    assert quantile(values, share) == pytest.approx(float(np.quantile(values, share)), rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("samples", [(), (0.0,), (-1.0,), (float("nan"),), (float("inf"),)])
def test_impossible_samples(samples: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="above zero"):
        Latency(samples_ms=samples)


def test_to_dict_is_json() -> None:
    a = of(range(1, 12))
    assert json.loads(json.dumps(a.to_dict())) == {
        "median_ms": 6.0, "p10_ms": 2.0, "p90_ms": 10.0, "spread": pytest.approx(8 / 6), "rounds": 11}  # fmt: skip
    assert json.loads(json.dumps(compare(a, a).to_dict()))["verdict"].startswith("no verdict")


@pytest.mark.parametrize(("wins", "rounds", "told"), [(10, 10, True), (9, 10, False), (29, 40, True), (28, 40, False)])
def test_many_noisy_rounds_tell_which_is_faster(wins: int, rounds: int, told: bool) -> None:
    """Though the spread, from half to twice, exceeds the difference."""
    slow, noise = [1.0] * rounds, [0.5] * wins + [2.0] * (rounds - wins)
    found = compare(Latency(samples_ms=tuple(slow)), Latency(samples_ms=tuple(noise)))
    assert found.wins == wins
    assert found.beyond_chance is told
    assert compare(Latency(samples_ms=tuple(noise)), Latency(samples_ms=tuple(slow))).beyond_chance is told
