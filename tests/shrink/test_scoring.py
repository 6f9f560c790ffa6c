from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from vitesse.arch import MLP, Attention, Backbone, Block, Choice, Head, PatchEmbed, Stage, sample
from vitesse.data import DataSettings, load_parts
from vitesse.data.part import Part
from vitesse.shrink.scoring import Scorer
from vitesse.supernet import Supernet
from vitesse.tasks.classification import accuracy

SPACE = Backbone(
    stem=PatchEmbed(image=(8, 8), patch=(4, 4), channels=1),
    stages=(
        Stage(
            dim=Choice(8, 16),
            depth=Choice(1, 2),
            block=Block(Attention(heads=Choice(1, 2), head_dim=4), MLP(ratio=Choice(1.0, 2.0))),
        ),
    ),
    head=Head(classes=10),
)


@pytest.fixture(scope="module")
def part() -> Part:
    return load_parts(DataSettings(source="digits", workers=0)).search


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    torch.manual_seed(0)
    made = Supernet(SPACE)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.5)
    return made


def scorer(supernet: Supernet, part: Part, **changes: Any) -> Scorer:
    how = {"accelerator": Accelerator(cpu=True), "batch": 64, "z": 0.0, "precision": "fp32", **changes}
    return Scorer(supernet, part, **how)


def test_scores_are_accuracies_on_the_search_part(supernet: Supernet, part: Part) -> None:
    rng = random.Random(0)
    archs = list({sample(SPACE, rng): None for _ in range(30)})
    scores = scorer(supernet, part)(archs)
    for arch, score in zip(archs, scores, strict=True):
        own = accuracy(lambda images, arch=arch: supernet(images, arch), part, accelerator=Accelerator(cpu=True))  # type: ignore[misc]
        assert score == pytest.approx(own.value)
    assert len(set(scores)) > 5


def test_a_race_scores_the_best_as_without_one(supernet: Supernet, part: Part) -> None:
    rng = random.Random(0)
    archs = list({sample(SPACE, rng): None for _ in range(40)})
    full, raced = scorer(supernet, part)(archs), scorer(supernet, part, z=1.0)(archs)
    assert len(archs) > 15 and full.index(max(full)) == raced.index(max(raced)) and max(raced) == max(full)
    assert raced != full  # some were dropped


def test_each_look_shows_all_classes(supernet: Supernet, part: Part) -> None:
    """Also where the files lie class by class, as in a folder: a race is decided by its first looks."""
    order = part.labels.argsort().numpy()
    sorted_part = Part(
        _Chosen(part, order), labels=part.labels[order], names=[part.names[i] for i in order], classes=10,
        preprocess=part._preprocess,
    )  # fmt: skip
    made = scorer(supernet, sorted_part, z=1.5)
    assert all(len(labels.unique()) == 10 for _, labels in made.blocks[:4])
    archs = [sample(SPACE, random.Random(seed)) for seed in range(3)]
    assert scorer(supernet, sorted_part)(archs) == pytest.approx(scorer(supernet, part)(archs))


class _Chosen:
    """The pictures of a part in another order."""

    def __init__(self, part: Part, order: NDArray[np.int64]) -> None:
        self.part, self.order = part, order

    def plain(self, shares: Sequence[NDArray[np.int64]]) -> Iterator[Tensor]:
        return self.part._views.plain([self.order[share] for share in shares])
