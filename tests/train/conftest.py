"""A tiny training: random images with learnable labels, a small network with stochastic depth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from vitesse.arch import MLP, Attention, Backbone, Block, Head, PatchEmbed, Stage
from vitesse.nets import Network, build
from vitesse.train import TrainSettings
from vitesse.train.loop import Losses, Progress, Task, Watch, fit

STEPS = 4  # an epoch
BATCH = 8


@dataclass(frozen=True)
class Pair:
    images: Tensor
    labels: Tensor


def batches(epoch: int, start: int, rank: int, world: int) -> Iterator[Pair]:
    for step in range(start, STEPS):
        generator = torch.Generator().manual_seed(1000 * epoch + step)
        images = torch.randn(BATCH, 1, 8, 8, generator=generator)
        yield Pair(images, (images.mean((1, 2, 3)) > 0).long())


def losses(network: nn.Module, batch: Pair, step: int) -> Iterator[Tensor]:
    yield functional.cross_entropy(network(batch.images).float(), batch.labels)


class Training:
    """A training that can be started again and again in one folder, as it is after a kill."""

    def __init__(self, place: Path) -> None:
        self.checkpoint = place / "checkpoint.pt"
        self.records: list[dict[str, float]] = []
        self.said: list[str] = []
        self.evaluated = 0
        self.accuracy = 0.9

    def network(self) -> Network:
        torch.manual_seed(7)
        block = Block(Attention(heads=2, head_dim=4), MLP(ratio=2.0))
        return build(
            Backbone(
                stem=PatchEmbed(image=(8, 8), patch=(4, 4), channels=1),
                stages=(Stage(dim=8, depth=2, block=block),),
                head=Head(classes=2),
            ),
            drop_path=0.3,
        )

    def task(self, losses: Losses) -> Task:
        return Task(losses=losses, batches=batches, steps_per_epoch=STEPS, evaluate=self._evaluate, chance=0.5)

    def _evaluate(self, network: nn.Module) -> float:
        assert not network.training
        self.evaluated += 1
        return self.accuracy

    def _rewind(self, step: int) -> None:
        self.records[:] = [record for record in self.records if record["step"] <= step]

    def fit(
        self,
        settings: TrainSettings,
        losses: Losses = losses,
        network: nn.Module | None = None,
        progress: Progress = lambda done, total, note: None,
    ) -> nn.Module:
        watch = Watch(log=self.records.append, say=self.said.append, rewind=self._rewind, progress=progress)
        return fit(network or self.network(), settings, task=self.task(losses), checkpoint=self.checkpoint, watch=watch)


@pytest.fixture
def training(tmp_path: Path) -> Training:
    return Training(tmp_path)


@pytest.fixture
def another(tmp_path: Path) -> Training:
    """One that is not interrupted, to compare with."""
    return Training(tmp_path / "another")


@pytest.fixture
def plain_losses() -> Losses:
    return losses


@pytest.fixture
def settings() -> Callable[..., TrainSettings]:
    def make(**changes: Any) -> TrainSettings:
        quick: dict[str, Any] = {"epochs": 3, "batch": BATCH, "lr": 0.01, "checkpoint_seconds": 0, "evaluate_every": 1}
        return TrainSettings(**(quick | changes))

    return make
