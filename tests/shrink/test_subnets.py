"""Subnets that share what they begin alike with compute what each would alone, and compute it once."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitesse.arch import (
    MLP,
    Attention,
    Backbone,
    Block,
    Choice,
    Head,
    PatchEmbed,
    RelativePosition,
    Stage,
    largest,
    sample,
    smallest,
)
from vitesse.nets.branch import Branch
from vitesse.shrink.subnets import Subnets
from vitesse.supernet import Supernet

SPACE = Backbone(
    stem=PatchEmbed(image=(16, 16), patch=(8, 8)),
    stages=(
        Stage(
            dim=Choice(8, 16),
            depth=Choice(1, 2, 3),
            block=Block(
                Attention(heads=Choice(1, 2), head_dim=4, position=RelativePosition(reach=2)),
                MLP(ratio=Choice(1.0, 2.0)),
            ),
        ),
    ),
    head=Head(classes=3),
)
GENERATOR = torch.Generator().manual_seed(0)
IMAGES, OTHERS = (torch.randn(count, 3, 16, 16, generator=GENERATOR) for count in (6, 4))


@pytest.fixture
def supernet() -> Supernet:
    torch.manual_seed(0)
    made = Supernet(SPACE, drop_path=0.5).eval()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    return made


def some(count: int) -> list[Backbone]:
    rng = random.Random(0)
    return [largest(SPACE), smallest(SPACE), *(sample(SPACE, rng) for _ in range(count - 2))]


def test_each_computes_what_it_would_alone(supernet: Supernet) -> None:
    archs, subnets = some(20), Subnets(supernet)
    for images in (IMAGES, OTHERS, IMAGES):
        for order in (archs, archs[::-1], archs[5:9]):
            with torch.no_grad():
                alone = [supernet(images, arch) for arch in order]
            for together, own in zip(subnets.logits(order, images), alone, strict=True):
                assert torch.equal(together, own)


def test_what_is_alike_is_computed_once(supernet: Supernet, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, run = Branch.forward, list[Branch]()

    def counted(branch: Branch, x: Tensor, grid: Any) -> Tensor:
        run.append(branch)
        return plain(branch, x, grid)

    monkeypatch.setattr(Branch, "forward", counted)
    archs = some(40)
    Subnets(supernet).logits(archs, IMAGES)
    beginnings = set()
    for arch in archs:
        branches = [branch for block in arch.stages[0].blocks for branch in block.branches]
        beginnings |= {(arch.stages[0].dim, *branches[: n + 1]) for n in range(len(branches))}
    assert len(run) == len(beginnings) < sum(2 * arch.stages[0].depth for arch in archs) / 2


def test_no_activations_and_no_dropped_networks_are_kept(supernet: Supernet) -> None:
    archs, subnets = some(20), Subnets(supernet)
    before = subnets.logits(archs, IMAGES)
    assert subnets._trail._taken == []
    subnets.keep(archs[:3])
    assert set(subnets._networks) == set(archs[:3])
    for first, again in zip(before, subnets.logits(archs, IMAGES), strict=True):
        assert torch.equal(first, again)


def test_the_supernet_is_left_as_it_was(supernet: Supernet) -> None:
    arch = smallest(SPACE)
    Subnets(supernet).logits([arch], IMAGES)
    supernet.train()(IMAGES, arch).sum().backward()
    assert supernet.network.head.norm.weight.grad is not None  # type: ignore[union-attr]
    assert supernet.network.stem.training
