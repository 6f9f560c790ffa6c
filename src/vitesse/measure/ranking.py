"""Does a cheap score order networks as their true accuracy does? Measured where it matters, with its uncertainty."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from vitesse.errors import UsageError

Array = NDArray[np.float64]
RESAMPLES = 1000
TOP = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A statistic and its 95 % interval, by the percentile bootstrap over networks."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RankReport:
    """How well predicted scores order networks.

    tau: Kendall's tau-b. rho: Spearman's correlation. tau_top_half: tau-b among the truly better half, which is the
    part that a search sees. precision_top: share of the predicted best tenth that is truly in the best tenth. regret:
    how far the predicted favourite is below the truly best, in the unit of the true score. tau_params, tau_macs: tau-b
    of "bigger is better", which a score must beat to be worth its price. A constant orders nothing: it correlates 0.
    """

    networks: int
    tau: Estimate
    rho: Estimate
    tau_top_half: Estimate
    precision_top: Estimate
    regret: Estimate
    tau_params: Estimate | None
    tau_macs: Estimate | None


def rank_report(
    predicted: Sequence[float],
    true: Sequence[float],
    *,
    params: Sequence[float] | None = None,
    macs: Sequence[float] | None = None,
    seed: int,
) -> RankReport:
    """Compare predicted with true scores, one of each for every network; both: more is better.

    With fewer than a hundred networks the intervals are wide: 20 cannot tell a tau of 0.4 from one of 0.6.
    """
    columns = {"predicted": predicted, "true": true, "params": params, "macs": macs}
    arrays = {name: np.asarray(values, dtype=float) for name, values in columns.items() if values is not None}
    sizes = {name: len(values) for name, values in arrays.items()}
    if len(set(sizes.values())) != 1 or len(true) < 4:
        raise UsageError(f"A ranking compares as many values of each kind, four or more, but got {sizes}.")
    for name, values in arrays.items():
        if not np.all(np.isfinite(values)):
            raise UsageError(f"A ranking compares finite numbers, but {name} holds others. Leave those networks out.")
    # One set of resamples for all statistics, so that they can be compared with one another.
    resamples = np.random.default_rng(seed).integers(0, len(true), size=(RESAMPLES, len(true)))

    def estimate(statistic: Callable[[Array, Array], float], name: str = "predicted") -> Estimate:
        x, y = arrays[name], arrays["true"]
        low, high = np.percentile([statistic(x[rows], y[rows]) for rows in resamples], (2.5, 97.5))
        return Estimate(value=statistic(x, y), low=float(low), high=float(high))

    return RankReport(
        networks=len(true),
        tau=estimate(_tau),
        rho=estimate(_rho),
        tau_top_half=estimate(_tau_top_half),
        precision_top=estimate(_precision_top),
        regret=estimate(_regret),
        tau_params=estimate(_tau, "params") if "params" in arrays else None,
        tau_macs=estimate(_tau, "macs") if "macs" in arrays else None,
    )


def _tau(x: Array, y: Array) -> float:
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(stats.kendalltau(x, y, variant="b").statistic)


def _rho(x: Array, y: Array) -> float:
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(np.corrcoef(stats.rankdata(x), stats.rankdata(y))[0, 1])


def _tau_top_half(x: Array, y: Array) -> float:
    best = _best(y, (len(y) + 1) // 2)
    return _tau(x[best], y[best])


def _precision_top(x: Array, y: Array) -> float:
    count = max(1, round(TOP * len(y)))
    return len(np.intersect1d(_best(x, count), _best(y, count))) / count


def _regret(x: Array, y: Array) -> float:
    return float(y.max() - y[x.argmax()])


def _best(values: Array, count: int) -> NDArray[np.intp]:
    """The places of the `count` greatest; of equals the earlier."""
    return np.argsort(-values, kind="stable")[:count]
