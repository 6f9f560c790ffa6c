"""Trials as rows of Optuna's database: a whole generation in one transaction, where Optuna writes one trial at a time.

Optuna asks and writes some thirty times for each trial of eight parameters, through SQLAlchemy's slow half. The rows are
the same; `SCHEMA` names the form of the tables in which they are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import UTC
from typing import Any

from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial
from sqlalchemy import MetaData, func, insert, select, update

SCHEMA = "v3.2.0.a"
TIMES = ("datetime_start", "datetime_complete")


class Rows:
    """The tables of one study; what is appended appears whole or not at all."""

    def __init__(self, database: RDBStorage, study: str) -> None:
        self._engine = database.engine
        self._study = database.get_study_id_from_name(study)
        found = MetaData()
        kinds = ("trial_params", "trial_values", "trial_user_attributes")
        found.reflect(self._engine, only=("studies", "trials", *kinds))
        self._studies, self._trials = found.tables["studies"], found.tables["trials"]
        self._kinds = [found.tables[kind] for kind in kinds]

    def append(self, trials: Sequence[FrozenTrial]) -> None:
        """Write finished trials, numbered on from the last one."""
        own, names = self._trials.c.study_id == self._study, self._studies.c
        with self._engine.begin() as connection:
            # Changes nothing, but takes the lock that Optuna takes too: trials are numbered by one process at a time.
            locked = update(self._studies).where(names.study_id == self._study).values(study_name=names.study_name)
            connection.execute(locked)
            first = connection.execute(select(func.count()).select_from(self._trials).where(own)).scalar_one()
            rows = [{**_trial(trial), "study_id": self._study, "number": first + n} for n, trial in enumerate(trials)]
            connection.execute(insert(self._trials), rows)
            mine = select(self._trials.c.trial_id).where(own, self._trials.c.number >= first)
            ids = connection.execute(mine.order_by(self._trials.c.number)).scalars().all()
            for table, of in zip(self._kinds, (_params, _values, _attributes), strict=True):
                parts = [{**row, "trial_id": i} for i, trial in zip(ids, trials, strict=True) for row in of(trial)]
                if parts:
                    connection.execute(insert(table), parts)


def _trial(trial: FrozenTrial) -> dict[str, Any]:
    # Optuna keeps the times as UTC without saying so.
    times = {name: getattr(trial, name).astimezone(UTC).replace(tzinfo=None) for name in TIMES}
    return {"state": trial.state.name, **times}


def _params(trial: FrozenTrial) -> list[dict[str, Any]]:
    return [
        {
            "param_name": name,
            "param_value": trial.distributions[name].to_internal_repr(value),
            "distribution_json": distribution_to_json(trial.distributions[name]),
        }
        for name, value in trial.params.items()
    ]


def _values(trial: FrozenTrial) -> list[dict[str, Any]]:
    return [{"objective": place, **_stored(float(value))} for place, value in enumerate(trial.values)]


def _stored(value: float) -> dict[str, Any]:
    if math.isinf(value):
        return {"value": None, "value_type": "INF_POS" if value > 0 else "INF_NEG"}
    return {"value": value, "value_type": "FINITE"}


def _attributes(trial: FrozenTrial) -> list[dict[str, Any]]:
    return [{"key": key, "value_json": json.dumps(value)} for key, value in trial.user_attrs.items()]
