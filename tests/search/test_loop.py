from __future__ import annotations

import multiprocessing
import os
import signal

import optuna
import pytest
import sqlalchemy

from vitesse.arch import cost, smallest
from vitesse.errors import UsageError, VitesseError
from vitesse.search import Evolution, RandomSearch, read_candidates, search, study, within

SMALL = Evolution(population=8, parents=3, mutants=4, crossovers=3)


def run(toy, place, **changes):
    settings = {
        "strategy": SMALL,
        "score": toy.score,
        "costs": toy.costs,
        "limits": {},
        "seed": 0,
        "generations": 3,
        **changes,
    }
    return search(toy.space, storage=place / "study.db", **settings)


def test_candidates_are_distinct_within_limits_and_in_order(toy, tmp_path) -> None:
    limits = {"params": 25_000}
    found = run(toy, tmp_path, limits=limits)
    assert len({c.arch for c in found}) == len(found) == 24
    assert all(within(c.costs, limits) for c in found)
    assert [c.generation for c in found] == sorted(c.generation for c in found)
    assert [c.score for c in found] == toy.score([c.arch for c in found])


def test_a_generation_is_scored_at_once_and_progress_is_told(toy, tmp_path) -> None:
    batches, notes = [], []

    def score(archs):
        batches.append(len(archs))
        return toy.score(archs)

    run(toy, tmp_path, score=score, progress=lambda done, total, note: notes.append((done, total)))
    assert batches == [8, 8, 8]
    assert notes == [(1, 3), (2, 3), (3, 3)]


def test_a_finished_search_scores_nothing_again_and_can_be_prolonged(toy, tmp_path) -> None:
    whole = run(toy, tmp_path / "whole", generations=3)
    short = run(toy, tmp_path, generations=2)
    asked = []

    def score(archs):
        asked.extend(archs)
        return toy.score(archs)

    assert run(toy, tmp_path, generations=2, score=score) == short
    assert asked == []
    assert run(toy, tmp_path, generations=3, score=score) == whole
    assert len(asked) == 8


def _kill_among_values(connection, cursor, statement, *rest) -> None:
    """Kill this process when the values of the second generation are written, and its attributes are not."""
    if statement.startswith("INSERT INTO trial_values"):
        [count] = cursor.execute("SELECT count(*) FROM trials").fetchone()
        if count == 2 * 8:
            os.kill(os.getpid(), signal.SIGKILL)


def _killed(toy, place, moment: str) -> None:
    """Run a search in a process that kills itself in its second generation."""
    told = []

    def score(archs):
        told.append(len(archs))
        if moment == "scoring" and len(told) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return toy.score(archs)

    if moment == "rows":
        sqlalchemy.event.listen(sqlalchemy.Engine, "after_cursor_execute", _kill_among_values)
    if moment == "trials":  # a storage that is no database: Optuna records one by one
        study.SCHEMA = "another"
        add = optuna.Study.add_trial

        def mortal(self, *args, **kwargs):
            told.append(0)
            if told.count(0) == 8 + 4:
                os.kill(os.getpid(), signal.SIGKILL)
            return add(self, *args, **kwargs)

        optuna.Study.add_trial = mortal  # type: ignore[method-assign]
    run(toy, place, score=score)


@pytest.mark.parametrize(("moment", "left"), [("scoring", 8), ("rows", 8), ("trials", 11)])
def test_a_killed_search_ends_as_if_it_had_not_been(toy, tmp_path, moment, left) -> None:
    whole = run(toy, tmp_path / "whole")
    victim = multiprocessing.get_context("fork").Process(target=_killed, args=(toy, tmp_path, moment))
    victim.start()
    victim.join()
    assert victim.exitcode == -signal.SIGKILL
    assert len(read_candidates(tmp_path / "study.db")) == left
    assert run(toy, tmp_path) == whole


def test_a_search_ends_when_its_space_is_exhausted(toy, tmp_path) -> None:
    limit = cost(smallest(toy.space)).params
    found = run(toy, tmp_path, limits={"params": limit}, strategy=RandomSearch(population=2))
    assert [c.arch for c in found] == [smallest(toy.space)]


def test_an_impossible_budget_is_refused_before_anything_is_written(toy, tmp_path) -> None:
    with pytest.raises(UsageError, match="Raise the limits"):
        run(toy, tmp_path, limits={"params": 10})
    assert list(tmp_path.iterdir()) == []


def test_other_settings_do_not_go_on_with_a_search(toy, tmp_path) -> None:
    run(toy, tmp_path, generations=1)
    with pytest.raises(UsageError, match="begun"):
        run(toy, tmp_path, limits={"params": 30_000})
    with pytest.raises(UsageError, match="begun"):
        run(toy, tmp_path, strategy=RandomSearch(population=8))


def test_searches_of_other_seeds_in_the_study_change_nothing(toy, tmp_path) -> None:
    alone = run(toy, tmp_path / "alone", seed=1, generations=2)
    other = run(toy, tmp_path, seed=0, generations=2)
    assert other != alone
    assert run(toy, tmp_path, seed=1, generations=2) == alone


def test_scores_are_checked(toy, tmp_path) -> None:
    with pytest.raises(VitesseError, match="one number for each"):
        run(toy, tmp_path, score=lambda archs: [0.0])
    with pytest.raises(ValueError, match="finite"):
        run(toy, tmp_path, score=lambda archs: [float("nan")] * len(archs))
