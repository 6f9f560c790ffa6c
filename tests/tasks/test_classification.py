"""What is learned in a step, and how well a network does, by hand and on the digits."""

from __future__ import annotations

import random

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from vitesse.arch import MLP, Attention, Backbone, Block, Choice, Head, PatchEmbed, Stage, largest, sample, smallest
from vitesse.data import DataSettings, load_parts
from vitesse.data.load import Parts
from vitesse.data.part import Batch
from vitesse.losses.classification import cross_entropy, distillation
from vitesse.supernet import Supernet
from vitesse.tasks.classification import accuracy, one_subnet, plain, sandwich
from vitesse.tasks.teaching import Teaching

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
def parts() -> Parts:
    return load_parts(DataSettings(source="digits", workers=0))


@pytest.fixture
def batch(parts: Parts) -> Batch:
    return next(iter(parts.learn.batches(16)))


@pytest.fixture
def supernet() -> Supernet:
    torch.manual_seed(0)
    supernet = Supernet(SPACE).eval()
    for parameter in supernet.parameters():
        nn.init.normal_(parameter, std=0.3)
    return supernet


class Fixed(nn.Module):
    """Gives the same logits to all."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, images: Tensor) -> Tensor:
        return self.logits.expand(len(images), -1)


def test_plain_is_one_loss_a_step(batch: Batch) -> None:
    network = Fixed(torch.linspace(0, 3, 10))
    (loss,) = plain(Teaching())(network, batch, 0)
    assert torch.equal(loss, cross_entropy(network(batch.images), batch.targets))


def test_one_subnet_is_drawn_by_the_step(supernet: Supernet, batch: Batch) -> None:
    drawn = []

    def draw(rng: random.Random) -> Backbone:
        drawn.append(sample(SPACE, rng))
        return drawn[-1]

    losses = one_subnet(draw, Teaching(), seed=3)
    random.seed(0)
    first = [next(iter(losses(supernet, batch, step))) for step in range(10)]
    random.seed(1)  # no global state decides
    again = [next(iter(losses(supernet, batch, step))) for step in reversed(range(10))]
    assert drawn[:10] == drawn[:9:-1] and len(set(drawn)) > 3
    assert all(torch.equal(*pair) for pair in zip(first, reversed(again), strict=True))
    expected = cross_entropy(supernet(batch.images, drawn[0]), batch.targets)
    torch.testing.assert_close(first[0], expected)


def test_sandwich(supernet: Supernet, batch: Batch) -> None:
    """The largest learns from the labels, the smallest and two others from what the largest says."""
    drawn = []

    def draw(rng: random.Random) -> Backbone:
        drawn.append(sample(SPACE, rng))
        return drawn[-1]

    found = list(sandwich(SPACE, draw, Teaching(), seed=0)(supernet, batch, 5))
    guide = supernet(batch.images, largest(SPACE)).detach()
    assert len(drawn) == 2
    expected = [cross_entropy(guide, batch.targets)]
    expected += [distillation(supernet(batch.images, arch), guide) for arch in (smallest(SPACE), *drawn)]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    found[1].backward()  # the guide is no pupil: the deepest block is not in the smallest network
    assert all(p.grad is None for name, p in supernet.named_parameters() if ".blocks.1." in name)


def test_losses_come_one_by_one(supernet: Supernet, batch: Batch) -> None:
    """The next network runs only after the last loss was used: memory stays that of one pass."""
    runs = []
    supernet.register_forward_hook(lambda module, inputs, output: runs.append(inputs[1]))
    iterator = iter(sandwich(SPACE, lambda rng: sample(SPACE, rng), Teaching(), seed=0)(supernet, batch, 0))
    for expected in range(1, 5):
        next(iterator)
        assert len(runs) == expected


def test_accuracy_counts_every_image_once(parts: Parts) -> None:
    favourite = Fixed(torch.eye(10)[3])
    accelerator = Accelerator()
    found = accuracy(favourite.to(accelerator.device), parts.search, accelerator=accelerator, batch=100)
    threes = int((parts.search.labels == 3).sum())
    assert (found.correct, found.total) == (threes, len(parts.search)) and 0.05 < found.value < 0.15
