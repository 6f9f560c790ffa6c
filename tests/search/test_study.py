from __future__ import annotations

import multiprocessing
import random
from pathlib import Path

import optuna
import pytest

from vitesse.arch import from_json, picks, sample, smallest
from vitesse.errors import UsageError, VitesseError
from vitesse.search import Candidate, Study, read_candidates


def opened(toy, path: Path) -> Study:
    return Study(path, toy.space, costs=("params", "macs"))


def add(toy, study: Study, seed: int, count: int, generation: int = 0) -> list[Candidate]:
    rng = random.Random(100 * seed + generation)
    archs = [sample(toy.space, rng) for _ in range(count)]
    found = [
        Candidate(arch=a, score=s, costs=toy.costs(a), origin="random", generation=generation)
        for a, s in zip(archs, toy.score(archs), strict=True)
    ]
    study.add(found, seed=seed)
    return found


def test_candidates_come_back_as_they_were(toy, tmp_path) -> None:
    study = opened(toy, tmp_path / "runs" / "study.db")
    study.enter(0, "settings")
    first, second = add(toy, study, 0, 4), add(toy, study, 0, 4, generation=1)
    other = add(toy, study, 1, 3)
    again = opened(toy, tmp_path / "runs" / "study.db")
    assert again.candidates(0) == first + second
    assert again.candidates() == first + second + other
    assert read_candidates(tmp_path / "runs" / "study.db") == first + second + other


def test_optuna_reads_the_decisions_and_the_values(toy, tmp_path) -> None:
    study = opened(toy, tmp_path / "study.db")
    [candidate] = add(toy, study, 0, 1)
    kept = optuna.load_study(study_name="search", storage=f"sqlite:///{tmp_path / 'study.db'}")
    [trial] = kept.trials
    assert trial.params == picks(toy.space, candidate.arch)
    assert trial.distributions["stages.0.depth"].choices == (4, 5, 6)
    assert trial.values == [candidate.score, *toy.costs(candidate.arch).values()]
    assert kept.metric_names == ["score", "params", "macs"]
    assert [direction.name for direction in kept.directions] == ["MAXIMIZE", "MINIMIZE", "MINIMIZE"]
    assert from_json(trial.user_attrs["arch"]) == candidate.arch


def test_a_study_goes_on_only_as_it_was_begun(toy, tmp_path) -> None:
    study = opened(toy, tmp_path / "study.db")
    study.enter(0, "Evolution()")
    study.enter(1, "RandomSearch()")
    with pytest.raises(UsageError, match="Evolution"):
        study.enter(0, "NSGA2()")
    with pytest.raises(UsageError, match="space"):
        Study(tmp_path / "study.db", smallest(toy.space), costs=("params", "macs"))
    with pytest.raises(UsageError, match="costs"):
        Study(tmp_path / "study.db", toy.space, costs=("params",))


def test_a_missing_study_is_told(tmp_path) -> None:
    with pytest.raises(VitesseError, match="holds none"):
        read_candidates(tmp_path / "study.db")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(VitesseError, match="holds none"):
        read_candidates(f"sqlite:///{tmp_path / 'empty.db'}")


def test_a_file_that_is_no_database_is_told(tmp_path) -> None:
    (tmp_path / "study.db").write_text("no database" * 500)
    with pytest.raises(VitesseError, match="cannot be read as one"):
        read_candidates(tmp_path / "study.db")


def test_a_url_is_taken_as_it_is(toy, tmp_path) -> None:
    study = Study(f"sqlite:///{tmp_path / 'other.db'}", toy.space, costs=("params", "macs"))
    found = add(toy, study, 0, 1)
    assert read_candidates(tmp_path / "other.db") == found


def _work(toy, path: Path, seed: int) -> None:
    study = opened(toy, path)
    study.enter(seed, "settings")
    add(toy, study, seed, 10)


def test_processes_share_one_study(toy, tmp_path) -> None:
    path = tmp_path / "study.db"
    opened(toy, path)
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_work, args=(toy, path, seed)) for seed in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    study = opened(toy, path)
    assert [len(study.candidates(seed)) for seed in range(3)] == [10, 10, 10]
    assert len(study.candidates()) == 30
