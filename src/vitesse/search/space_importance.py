"""How much of what networks err each dimension decides: functional ANOVA (Hutter et al., ICML 2014), by Optuna."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator
from optuna.trial import create_trial

from vitesse.search.space_error import Floats
from vitesse.search.study import quiet

TREES = 8
HALVES = 20
NORMAL_95 = 1.96


@dataclass(frozen=True, kw_only=True, slots=True)
class Importance:
    """The share (of 1) of the variance of errors that a dimension explains by itself, and a 95 % interval."""

    value: float
    low: float
    high: float


def importances(means: Mapping[str, Floats], errors: Sequence[float], *, seed: int = 0) -> dict[str, Importance]:
    """The importance of each dimension for the errors (N,) of networks.

    means: the mean option of each network (N,), by dimension. The interval is from random halves of the sample, whose spread
    estimates that of the whole (delete-half jackknife).
    """
    values = np.asarray(errors, dtype=np.float64)
    whole, rng = _shares(means, values), np.random.default_rng(seed)
    halves = [
        _shares({name: mean[part] for name, mean in means.items()}, values[part])
        for part in (rng.permutation(len(values))[: len(values) // 2] for _ in range(HALVES))
    ]
    found = {}
    for name, value in whole.items():
        reach = NORMAL_95 * float(np.std([half[name] for half in halves]))
        found[name] = Importance(value=value, low=max(0.0, value - reach), high=min(1.0, value + reach))
    return found


def _shares(means: Mapping[str, Floats], errors: Floats) -> dict[str, float]:
    """Optuna's importances, of a sum of 1 at most; all 0 where nothing matters."""
    varied = {name: mean for name, mean in means.items() if np.ptp(mean) > 0}
    none = dict.fromkeys(means, 0.0)
    if not varied or np.ptp(errors) == 0:
        return none
    kinds: dict[str, BaseDistribution] = {
        name: FloatDistribution(float(mean.min()), float(mean.max())) for name, mean in varied.items()
    }
    trials = [
        create_trial(value=float(error), params=_row(varied, row), distributions=kinds)
        for row, error in enumerate(errors)
    ]
    with quiet():
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        study.add_trials(trials)
        told = FanovaImportanceEvaluator(n_trees=TREES, seed=0).evaluate(study)
    return none | {name: float(value) for name, value in told.items()}


def _row(means: Mapping[str, Floats], row: int) -> dict[str, float]:
    return {name: float(mean[row]) for name, mean in means.items()}
