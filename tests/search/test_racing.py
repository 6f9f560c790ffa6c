from __future__ import annotations

import random

import numpy as np
import pytest

from vitesse.arch import sample
from vitesse.errors import UsageError
from vitesse.search import race


def setup(toy, accuracies, *, images: int, seed: int = 0):
    """Networks of known accuracy on images of shared difficulty, and the count of images that each was asked."""
    rng = np.random.default_rng(seed)
    difficulty = rng.random(images)
    draws = random.Random(0)
    archs = list({sample(toy.space, draws): None for _ in range(3 * len(accuracies))})[: len(accuracies)]
    right = {
        arch: difficulty + 0.05 * rng.standard_normal(images) < accuracy
        for arch, accuracy in zip(archs, accuracies, strict=True)
    }
    asked = dict.fromkeys(archs, 0)

    def evaluate(archs, block):
        for arch in archs:
            asked[arch] += len(block)
        return [right[arch][block] for arch in archs]

    return archs, right, asked, evaluate


def blocks(images: int, size: int) -> list[np.ndarray]:
    return np.split(np.arange(images), range(size, images, size))


def test_finishers_have_their_exact_accuracy(toy) -> None:
    archs, right, asked, evaluate = setup(toy, np.linspace(0.3, 0.8, 20), images=2000)
    scores = race(evaluate, archs, blocks(2000, 100), keep=5, z=2.0)
    for arch, score in zip(archs, scores, strict=True):
        if asked[arch] == 2000:
            assert score == right[arch].mean()
    assert sum(asked.values()) < 0.6 * 2000 * 20


def test_the_best_are_the_same_as_without_a_race(toy) -> None:
    archs, right, _, evaluate = setup(toy, np.linspace(0.3, 0.8, 20), images=2000)
    scores = race(evaluate, archs, blocks(2000, 100), keep=5, z=3.0)
    full = np.array([right[arch].mean() for arch in archs])
    assert set(np.argsort(scores)[-5:]) == set(np.argsort(full)[-5:])
    assert np.abs(np.array(scores) - full).max() < 0.1  # estimates of the dropped are fair


def test_the_dropped_never_reach_a_finisher_even_after_an_easy_start(toy) -> None:
    archs, right, asked, _ = setup(toy, [0.9, 0.8, 0.6, 0.5, 0.4], images=1000)
    for hits in right.values():
        hits[500:] = False  # all fail on the later blocks, so early accuracies are far too high

    def evaluate(archs, block):
        for arch in archs:
            asked[arch] += len(block)
        return [right[arch][block] for arch in archs]

    scores = race(evaluate, archs, blocks(1000, 100), keep=1, z=2.0)
    finished = [score for arch, score in zip(archs, scores, strict=True) if asked[arch] == 1000]
    dropped = [score for arch, score in zip(archs, scores, strict=True) if asked[arch] < 1000]
    assert len(finished) == 1
    assert len(dropped) == 4
    assert max(dropped) < min(finished)


def test_a_survivor_that_falls_behind_stays_ahead_of_the_dropped(toy) -> None:
    archs, _, _, _ = setup(toy, [0.5] * 3, images=1)
    images = 400
    steady = np.ones(images, dtype=bool)
    fading = np.r_[np.ones(300, dtype=bool), np.zeros(100, dtype=bool)]
    poor = np.r_[np.zeros(20, dtype=bool), np.ones(380, dtype=bool)]  # worse at first only
    right = dict(zip(archs, (steady, fading, poor), strict=True))
    scores = race(lambda some, block: [right[arch][block] for arch in some], archs, blocks(images, 100), keep=1, z=1.0)
    assert scores[0] == 1.0
    assert scores[2] < 0.95  # dropped after the first block
    assert scores[1] == pytest.approx(0.75)
    assert scores[2] < scores[1]


def test_no_more_than_asked_for_are_ever_dropped(toy) -> None:
    archs, _, asked, evaluate = setup(toy, [0.9, 0.5, 0.1], images=600)
    race(evaluate, archs, blocks(600, 50), keep=2, z=0.01)
    assert sum(count == 600 for count in asked.values()) >= 2


def test_one_image_drops_nobody(toy) -> None:
    archs, _, asked, evaluate = setup(toy, [0.99, 0.01], images=1)
    race(evaluate, archs, [np.arange(1), np.arange(1)], keep=1, z=1.0)
    assert list(asked.values()) == [2, 2]


def test_nobody_races_for_nothing() -> None:
    assert race(lambda archs, block: [], [], [0], keep=1) == []


@pytest.mark.parametrize("wrong", [{"keep": 0}, {"z": 0.0}, {"blocks": []}])
def test_settings_are_checked(wrong) -> None:
    settings = {"blocks": [0], "keep": 1, "z": 1.0, **wrong}
    with pytest.raises(UsageError, match="A race needs"):
        race(lambda archs, block: [], [], settings.pop("blocks"), **settings)
