"""How the E-T error of a space changes along its dimensions, and where each should move.

A dimension of a stage has one value in each network. One of its blocks has as many as the network has blocks: there each
choice counts a network by the share of its blocks that have the choice, and stands, on the axis of choices, at the mean
choice of the networks that it counts. So the slope is that of all blocks together, however many there are, and for
dimensions of a stage both rules come down to the published ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from vitesse.arch.dimensions import Dimension
from vitesse.search.evolving import EvolveSettings
from vitesse.search.space_error import Floats, expected_and_top, resampled

ROUND: dict[str, Callable[[float], int]] = {"truncate": math.trunc, "floor": math.floor, "nearest": round}


@dataclass(frozen=True, kw_only=True, slots=True)
class Slope:
    """Error for a step of the dimension, its standard error, and the least and the most that it may be."""

    value: float
    error: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Trend:
    """What the networks of a space say about one dimension.

    choices: the E-T error of each option (None where no network has it). slope: of the line through them. lower, upper: by
    how many steps each end should move. decided: whether the sample is large enough to say so.
    """

    dimension: Dimension
    choices: tuple[float | None, ...]
    slope: Slope
    lower: int
    upper: int
    decided: bool

    @property
    def strength(self) -> float:
        """How many standard errors the slope is from none."""
        return abs(self.slope.value) / max(self.slope.error, 1e-12)


def trends(
    dimensions: Sequence[Dimension], decisions: Sequence[Mapping[str, Any]], errors: Sequence[float],
    *, settings: EvolveSettings, looks: int, seed: int,
) -> list[Trend]:  # fmt: skip
    """The trend of each dimension over the networks of these decisions (by path) and errors.

    looks: how often the sample may be looked at while it grows; each look takes its share of the chance to be wrong.
    """
    values = np.asarray(errors, dtype=np.float64)
    rows = np.concatenate([np.ones((1, len(values))), resampled(len(values), seed=seed)])  # the sample, then resamples
    z = NormalDist().inv_cdf(1 - (1 - settings.confidence) / (2 * looks))
    return [_trend(one, *counted(one, decisions), values, rows, settings=settings, z=z) for one in dimensions]


def counted(dimension: Dimension, decisions: Sequence[Mapping[str, Any]]) -> tuple[Floats, Floats]:
    """The share of a network's blocks that have each option (N, options), and their mean option (N,)."""
    shares = np.zeros((len(decisions), len(dimension.options)))
    column = {option: place for place, option in enumerate(dimension.options)}
    for row, taken in enumerate(decisions):
        places = [column[taken[path]] for path in dimension.places if path in taken]
        for place in places:
            shares[row, place] += 1 / len(places)
    return shares, shares @ np.array(dimension.options, dtype=np.float64)


def _trend(
    dimension: Dimension, shares: Floats, means: Floats, errors: Floats, rows: Floats,
    *, settings: EvolveSettings, z: float,
) -> Trend:  # fmt: skip
    curves = np.stack(
        [sum(expected_and_top(errors, rows * share, top=settings.top)) / 2 for share in shares.T], axis=1
    )  # (1 + B, options)
    means = (means - dimension.options[0]) / dimension.step
    with np.errstate(invalid="ignore"):
        at = (rows @ (shares * means[:, None])) / (rows @ shares)  # (1 + B, options)
    line = _slope(_line(at, curves), z)
    ends = (line, line)
    if settings.rule == "ends":
        ends = tuple(_slope(_end(at, curves, end), z) for end in (0, -1))  # type: ignore[assignment]
    unit = 1.0 if settings.scale == "steps" else 1 / dimension.step
    (lower, sure_of_lower), (upper, sure_of_upper) = (_steps(end, unit, settings) for end in ends)
    return Trend(
        dimension=dimension,
        choices=tuple(None if math.isnan(value) else float(value) for value in curves[0]),
        slope=line, lower=lower, upper=upper, decided=sure_of_lower and sure_of_upper,
    )  # fmt: skip


def _line(at: Floats, curves: Floats) -> Floats:
    """The slope of the least-squares line through the points of each row; options without a network are left out."""
    known = ~(np.isnan(at) | np.isnan(curves))
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    x, y = (np.where(known, value, 0.0) for value in (at, curves))
    x, y = (np.where(known, value - value.sum(axis=1, keepdims=True) / count, 0.0) for value in (x, y))
    return _ratio((x * y).sum(axis=1), (x * x).sum(axis=1))


def _end(at: Floats, curves: Floats, end: int) -> Floats:
    """The slope from the mean of all other options to the one at the end: what the end adds or costs.

    Options without a network are left out, as from the line; where the end has none, nothing is told.
    """
    known = ~(np.isnan(at) | np.isnan(curves))
    others = known.copy()
    others[:, end] = False
    count = np.maximum(others.sum(axis=1), 1)
    x, y = (value[:, end] - np.where(others, value, 0.0).sum(axis=1) / count for value in (at, curves))
    return _ratio(np.where(others.any(axis=1), y, np.nan), x)


def _ratio(above: Floats, below: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(np.abs(below) > 1e-12, above / below, np.nan)


def _slope(values: Floats, z: float) -> Slope:
    """The sample's slope with the spread of its resamples; without an end where there is nothing to tell it by."""
    value, drawn = float(values[0]), values[1:][~np.isnan(values[1:])]
    if math.isnan(value) or len(drawn) < 2:
        return Slope(value=0.0, error=math.inf, low=-math.inf, high=math.inf)
    error = float(drawn.std())
    return Slope(value=value, error=error, low=value - z * error, high=value + z * error)


def _steps(slope: Slope, unit: float, settings: EvolveSettings) -> tuple[int, bool]:
    """By how many steps to move (up where the error falls), and whether the whole interval agrees on the direction.

    As published: minus the rounded slope over the threshold; here no more than `most_steps`, and none in doubt.
    """

    def steps(value: float) -> int:
        within = min(max(value * unit / settings.threshold, -settings.most_steps - 1), settings.most_steps + 1)
        return max(-settings.most_steps, min(settings.most_steps, -ROUND[settings.rounding](within)))

    low, high = np.sign(steps(slope.low)), np.sign(steps(slope.high))
    return (steps(slope.value), True) if low == high else (0, False)
