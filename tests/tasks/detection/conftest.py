"""Small networks of both kinds: with strides 4, 8, 16, 32 and, as EfficientViT's, 16, 32, 64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from vitesse.arch import Backbone, ConvStem
from vitesse.data import Preprocess
from vitesse.nets import Network, build
from vitesse.zoo.tinyvit import tiny_vit


def tiny(stages: int = 4, *, layers: int = 2, channels: int = 3) -> Backbone:
    arch = tiny_vit(
        dims=(8, 12, 16, 24)[:stages], depths=(1,) * stages, heads=(1,) * stages, windows=(3,) * stages, classes=5,
        image=(64, 64), channels=channels,
    )  # fmt: skip
    return replace(arch, stem=ConvStem(image=(64, 64), channels=channels, layers=layers))


def seeded(arch: Backbone) -> Network:
    torch.manual_seed(0)
    network = build(arch).eval()
    for name, buffer in network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.5)
    network.preprocess = Preprocess(size=(64, 64), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    return network


@pytest.fixture
def four_stages() -> Network:
    return seeded(tiny())


@pytest.fixture
def three_stages() -> Network:
    """Strides 16, 32 and 64."""
    return seeded(tiny(3, layers=4))


@pytest.fixture
def network_of() -> Callable[[Backbone], Network]:
    return seeded
