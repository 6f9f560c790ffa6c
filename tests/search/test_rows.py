"""Rows as Optuna writes them: what it would have written itself, trial by trial, is the measure."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, create_trial

from vitesse.search.rows import SCHEMA, Rows


def begun(path: Path) -> tuple[optuna.storages.RDBStorage, optuna.Study]:
    database = optuna.storages.RDBStorage(f"sqlite:///{path}")
    optuna.create_study(storage=database, study_name="another", direction="maximize").add_trial(create_trial(value=1.0))
    return database, optuna.create_study(storage=database, study_name="search", directions=["maximize", "minimize"])


def trials() -> list[FrozenTrial]:
    known = {"width": CategoricalDistribution([8, 16]), "norm": CategoricalDistribution([None, "layer", True])}
    return [
        create_trial(
            values=[0.25, float("inf")],
            params={"width": 16, "norm": True, "rate": 0.5},
            distributions={**known, "rate": FloatDistribution(0, 1)},
            user_attrs={"arch": '{"é": 1}', "generation": 3},
        ),
        create_trial(values=[float("-inf"), 7], params={"norm": None}, distributions={"norm": known["norm"]}),
        create_trial(values=[1.0, 1e300], user_attrs={"seed": 0}),
    ]


def dump(path: Path) -> dict[str, list[Any]]:
    """Everything in the database but the times."""
    with sqlite3.connect(path) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")]
        found = {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in tables}
    found["trials"] = [row[:4] for row in found["trials"]]
    return found


def test_the_rows_are_those_that_optuna_writes(tmp_path: Path) -> None:
    _, study = begun(tmp_path / "optuna.db")
    database, _ = begun(tmp_path / "rows.db")
    rows = Rows(database, "search")
    for several in (trials(), trials()):
        study.add_trials(several)
        rows.append(several)
    assert dump(tmp_path / "rows.db") == dump(tmp_path / "optuna.db")


def test_optuna_reads_and_goes_on(tmp_path: Path) -> None:
    database, study = begun(tmp_path / "rows.db")
    study.add_trial(trials()[0])
    Rows(database, "search").append(trials())
    study.add_trial(trials()[0])
    kept = optuna.load_study(storage=f"sqlite:///{tmp_path / 'rows.db'}", study_name="search").trials
    assert [trial.number for trial in kept] == [0, 1, 2, 3, 4] and study.trials == kept
    for trial, wanted in zip(kept[1:4], trials(), strict=True):
        assert (trial.values, trial.params, trial.user_attrs) == (wanted.values, wanted.params, wanted.user_attrs)
        assert abs((trial.datetime_complete - wanted.datetime_complete).total_seconds()) < 600  # no zone too far


def test_all_or_nothing(tmp_path: Path) -> None:
    database, study = begun(tmp_path / "rows.db")
    rows, before = Rows(database, "search"), dump(tmp_path / "rows.db")
    wrong: Sequence[FrozenTrial] = [*trials(), create_trial(values=[1.0, 2.0], user_attrs={"seed": {1, 2}})]
    with pytest.raises(TypeError, match="JSON"):
        rows.append(wrong)
    assert dump(tmp_path / "rows.db") == before
    rows.append(trials())
    assert len(study.trials) == 3


def test_the_tables_have_the_form_that_is_written(tmp_path: Path) -> None:
    """Where this fails, Optuna has changed its tables: searches go on, slowly, until `rows` writes the new form."""
    assert begun(tmp_path / "rows.db")[0].get_current_version() == SCHEMA
