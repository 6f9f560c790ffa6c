"""Time callables against each other, so that what disturbs the machine disturbs all of them alike.

Every round calls each of them once, in a fresh order; two are then compared round by round. A difference counts only
where it is larger than the noise: otherwise the answer is "no verdict".
"""

from __future__ import annotations

import gc
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

# Fewer rounds than this never give a verdict: nine wins of ten come about by chance once in fifty times.
MIN_ROUNDS = 10
CHANCE = 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """What one call takes, from its samples in milliseconds in the order of the rounds."""

    samples_ms: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.samples_ms or not all(sample > 0 and math.isfinite(sample) for sample in self.samples_ms):
            raise ValueError(f"A latency needs at least one sample, all above zero; got {self.samples_ms[:5]}.")

    def __repr__(self) -> str:
        return f"Latency(median_ms={self.median_ms:.4g}, spread={self.spread:.2g}, rounds={self.rounds})"

    @property
    def rounds(self) -> int:
        """How often it was timed."""
        return len(self.samples_ms)

    @property
    def median_ms(self) -> float:
        """The middle sample."""
        return quantile(self.samples_ms, 0.5)

    @property
    def p10_ms(self) -> float:
        """One call in ten is faster."""
        return quantile(self.samples_ms, 0.1)

    @property
    def p90_ms(self) -> float:
        """One call in ten is slower."""
        return quantile(self.samples_ms, 0.9)

    @property
    def spread(self) -> float:
        """How noisy the samples are: (p90 - p10) / median, without unit."""
        return (self.p90_ms - self.p10_ms) / self.median_ms

    def to_dict(self) -> dict[str, float | int]:
        """The figures without the samples, for JSON."""
        figures = {"median_ms": self.median_ms, "p10_ms": self.p10_ms, "p90_ms": self.p90_ms, "spread": self.spread}
        return {**figures, "rounds": self.rounds}


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """How many times as long `b` takes as `a`: the ratio in the same round, its median, 10th and 90th percentile.

    Decided only where one of the two won at least nine rounds of ten, that is where the whole range from `low` to
    `high` lies on one side of 1. Pairing removes what is common to a round: a slow minute slows both.
    wins: the rounds in which `b` was the faster.
    """

    ratio: float
    low: float
    high: float
    rounds: int
    wins: int

    @property
    def decided(self) -> bool:
        """Whether the difference is larger than the noise."""
        return self.rounds >= MIN_ROUNDS and not self.low <= 1 <= self.high

    @property
    def beyond_chance(self) -> bool:
        """Whether one won so many rounds as chance gives once in a hundred times (sign test, two-sided).

        It says which is the faster, where `decided` says that the difference will be seen: many noisy rounds tell the first.
        """
        fewer = min(self.wins, self.rounds - self.wins)
        worse = sum(math.comb(self.rounds, wins) for wins in range(fewer + 1))
        return 2 * worse <= CHANCE * float(2**self.rounds)

    @property
    def verdict(self) -> str:
        """In words, about `b` as seen from `a`."""
        if self.rounds < MIN_ROUNDS:
            return f"no verdict ({self.rounds} rounds; at least {MIN_ROUNDS} are needed)"
        if not self.decided:
            return f"no verdict (takes {self.low:.2f} to {self.high:.2f} times as long)"
        if self.ratio < 1:
            return f"{1 / self.ratio:.2f} times faster ({1 / self.high:.2f} to {1 / self.low:.2f})"
        return f"{self.ratio:.2f} times slower ({self.low:.2f} to {self.high:.2f})"

    def to_dict(self) -> dict[str, float | int | bool | str]:
        """All of it, for JSON."""
        figures = {"ratio": self.ratio, "low": self.low, "high": self.high, "rounds": self.rounds}
        return {**figures, "decided": self.decided, "verdict": self.verdict}


def compare(a: Latency, b: Latency) -> Comparison:
    """Compare two latencies of one `time_interleaved` round by round; ValueError where they are of different ones."""
    if a.rounds != b.rounds:
        raise ValueError(f"Only latencies of the same rounds compare, but got {a.rounds} and {b.rounds} rounds.")
    # Logarithms, so that comparing b with a says exactly the inverse.
    ratios = [math.log(later / first) for first, later in zip(a.samples_ms, b.samples_ms, strict=True)]
    low, middle, high = (math.exp(quantile(ratios, share)) for share in (0.1, 0.5, 0.9))
    wins = sum(ratio < 0 for ratio in ratios)
    return Comparison(ratio=middle, low=low, high=high, rounds=a.rounds, wins=wins)


def time_interleaved(
    calls: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 100,
    warmup: int = 10,
    seconds: float | None = None,
    at_least: int = 1,
    progress: Callable[[int, int, str], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Latency]:
    """Time each call once in every round, in an order drawn anew for each round from a fixed seed.

    A call must return only when its work is done. Each is called once untimed before it is timed, to bring its data back
    into the caches that the one before it filled: else a small network looks slow for standing beside a big one.
    `seconds` ends the measuring early; a fifth of it at most goes to the warm-up, and `at_least` so many rounds are timed
    however long they take.
    `clock` gives seconds.
    """
    if not calls:
        raise ValueError("At least one call must be given to be timed.")
    if rounds < 1 or warmup < 0:
        raise ValueError(f"rounds >= 1 and warmup >= 0 must hold, but got rounds={rounds}, warmup={warmup}.")
    # A drawn order, not a rotated one: in a rotation each call would mostly follow the same other.
    order, rng = list(calls), random.Random(0)
    samples: dict[str, list[float]] = {name: [] for name in calls}
    start, limit = clock(), math.inf if seconds is None else seconds
    with no_collection():
        for _ in range(warmup):
            if clock() - start > limit / 5:
                break
            rng.shuffle(order)
            for name in order:
                _sample_ms(calls[name], clock)
        for done in range(1, rounds + 1):
            rng.shuffle(order)
            for name in order:
                samples[name].append(_sample_ms(calls[name], clock))
            if progress is not None:
                progress(done, rounds, "timing")
            if done >= at_least and clock() - start > limit:
                break
    return {name: Latency(samples_ms=tuple(values)) for name, values in samples.items()}


def _sample_ms(call: Callable[[], object], clock: Callable[[], float]) -> float:
    call()
    before = clock()
    call()
    return (clock() - before) * 1e3


def quantile(values: tuple[float, ...] | list[float], share: float) -> float:
    """The value below which `share` of the values lie, interpolated between neighbours as numpy does."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


@contextmanager
def no_collection() -> Iterator[None]:
    """Python's garbage collection would strike whichever call happens to be running."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
