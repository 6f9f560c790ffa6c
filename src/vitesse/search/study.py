"""The study of a search, kept by Optuna: every candidate with its decisions, score and costs, safe against a crash.

A study is one database: an SQLite file on one machine, PostgreSQL or Optuna's gRPC proxy across several. Each search
in it has a seed of its own, so that any number of processes, one for each seed, may add to one study at a time.
Optuna's dashboard reads it.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import event
from sqlalchemy.exc import DatabaseError

from vitesse.arch import Backbone, picks, space_from_json, to_json
from vitesse.errors import UsageError, VitesseError
from vitesse.search.candidate import Candidate
from vitesse.search.genome import Genes, genes
from vitesse.search.rows import SCHEMA, Rows

NAME = "search"
PATIENCE_S = 60  # how long one process waits while another one writes to the same SQLite file


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna from reporting each study and trial while this is open, and put its verbosity back afterwards."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def directions(costs: int) -> list[StudyDirection]:
    """The score upwards, each of so many costs downwards."""
    return [StudyDirection.MAXIMIZE] + [StudyDirection.MINIMIZE] * costs


class Study:
    """The candidates of every search that was made in one space.

    A trial's parameters are the decisions that its network takes, by path; its values are the score and the costs. The
    architecture itself, its origin, its generation and the seed of its search are the trial's user attributes.
    """

    def __init__(self, storage: Path | str, space: Backbone, *, costs: Sequence[str]) -> None:
        """Open the study at `storage`, a file or a URL, or begin it; UsageError where it is about another space."""
        self._names = tuple(costs)
        self._table = genes(space)
        self._space = space
        opened = _open(storage)
        with quiet():
            # Candidates come from a strategy, so this sampler is never asked; it is named so that no default matters.
            self._study = optuna.create_study(
                storage=opened,
                study_name=NAME,
                directions=directions(len(self._names)),
                sampler=optuna.samplers.RandomSampler(seed=0),
                load_if_exists=True,
            )
        self._settle("space", to_json(space))
        self._settle("costs", list(self._names))
        with warnings.catch_warnings():  # experimental in Optuna; only the dashboard shows these names
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study.set_metric_names(["score", *self._names])
        self._rows: Rows | None = None  # through Optuna's proxy, or into tables of another form, trials go one by one
        if isinstance(opened, optuna.storages.RDBStorage) and opened.get_current_version() == SCHEMA:
            self._rows = Rows(opened, NAME)

    def enter(self, seed: int, settings: str) -> None:
        """Begin the search of this seed or go on with it; UsageError where it began with other settings."""
        self._settle(f"search {seed}", settings)

    def candidates(self, seed: int | None = None) -> list[Candidate]:
        """All scored candidates, or those of one seed, in the order in which they were proposed."""
        return [_candidate(trial, self._names) for trial in self._trials(seed)]

    def add(self, candidates: Sequence[Candidate], *, seed: int) -> None:
        """Record candidates that were scored."""
        trials = [self._trial(candidate, seed) for candidate in candidates]
        if self._rows is None:
            self._study.add_trials(trials)
        elif trials:
            self._rows.append(trials)

    def _trial(self, candidate: Candidate, seed: int) -> FrozenTrial:
        params, distributions = _decisions(self._space, candidate.arch, self._table)
        attrs = {
            "arch": to_json(candidate.arch),
            "origin": candidate.origin,
            "generation": candidate.generation,
            "seed": seed,
        }
        values = [candidate.score, *(candidate.costs[name] for name in self._names)]
        return create_trial(values=values, params=params, distributions=distributions, user_attrs=attrs)

    def _trials(self, seed: int | None) -> list[FrozenTrial]:
        trials = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return [trial for trial in trials if seed is None or trial.user_attrs["seed"] == seed]

    def _settle(self, key: str, value: Any) -> None:
        """Write down what the study was begun with, or make sure that it is the same."""
        known = self._study.user_attrs.get(key, value)
        if known != value:
            raise UsageError(
                f"A study goes on as it was begun, but its {key} was {_brief(known)} and is now {_brief(value)}. "
                "Keep the settings, or begin another study."
            )
        self._study.set_user_attr(key, value)


def read_candidates(storage: Path | str) -> list[Candidate]:
    """All candidates of a study that exists; VitesseError where there is none."""
    missing = VitesseError(f"A study must have been begun by a search, but {storage} holds none.")
    if "://" not in str(storage) and not Path(storage).is_file():
        raise missing  # opening it would make an empty one
    with quiet():
        try:
            sampler = optuna.samplers.RandomSampler(seed=0)  # never asked
            study = optuna.load_study(storage=_open(storage), study_name=NAME, sampler=sampler)
        except KeyError:
            raise missing from None
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [_candidate(trial, study.user_attrs["costs"]) for trial in trials]


def _open(storage: Path | str) -> optuna.storages.BaseStorage:
    text = str(storage)
    if text.startswith("grpc://"):
        host, _, port = text.removeprefix("grpc://").partition(":")
        return optuna.storages.GrpcStorageProxy(host=host, port=int(port or 13000))
    url, options = text, {}
    if "://" not in text:
        Path(text).parent.mkdir(parents=True, exist_ok=True)
        url, options = f"sqlite:///{text}", {"connect_args": {"timeout": PATIENCE_S}}
    try:
        database = optuna.storages.RDBStorage(url, engine_kwargs=options)
        if url.startswith("sqlite"):
            event.listen(database.engine, "connect", _append_first)
            database.engine.dispose()  # what is connected already knows nothing of it
        return database
    except DatabaseError as error:
        raise VitesseError(
            f"A study is kept in a database, but {storage} cannot be read as one: {error.orig}. "
            "Name another place, or remove what is there."
        ) from error


def _append_first(connection: Any, record: object) -> None:
    """Have SQLite append what is written to a log of its own: as safe against a killed process, and three times as fast.

    At a power cut the last candidates may be lost, which are then scored again.
    """
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _decisions(space: Backbone, arch: Backbone, table: Genes) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
    """The decisions of an architecture as Optuna's parameters; options that are no plain values stand as text."""
    params = {path: _plain(option) for path, option in picks(space, arch).items()}
    distributions: dict[str, BaseDistribution] = {
        path: CategoricalDistribution([_plain(option) for option in table[path]]) for path in params
    }
    return params, distributions


def _plain(option: Any) -> bool | int | float | str | None:
    return option if option is None or isinstance(option, (bool, int, float, str)) else repr(option)


def _candidate(trial: FrozenTrial, names: Sequence[str]) -> Candidate:
    score, *costs = trial.values
    known: Mapping[str, Any] = trial.user_attrs
    return Candidate(
        arch=space_from_json(known["arch"]),
        score=score,
        costs=dict(zip(names, costs, strict=True)),
        origin=known["origin"],
        generation=known["generation"],
    )


def _brief(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
