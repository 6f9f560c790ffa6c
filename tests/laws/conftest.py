"""A space with every kind of cut, its supernet with weights that matter, and images."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vitesse.arch import MLP, Attention, Backbone, Block, Choice, Head, PatchEmbed, RelativePosition, Stage
from vitesse.supernet import Supernet


def randomized(supernet: Supernet) -> Supernet:
    """In float64 and evaluation, with weights and running statistics that matter."""
    torch.manual_seed(0)
    supernet.double().eval()
    for parameter in supernet.parameters():
        nn.init.normal_(parameter, std=0.3)
    for name, buffer in supernet.named_buffers():
        if name.endswith("running_mean"):
            nn.init.normal_(buffer, std=0.3)
        elif name.endswith("running_var"):
            nn.init.uniform_(buffer, 0.5, 2.0)
    return supernet


@pytest.fixture(scope="session")
def space() -> Backbone:
    attention = Attention(
        heads=Choice(1, 2, 3),
        head_dim=Choice(4, 8),
        qk_norm=True,
        layer_scale=True,
        position=RelativePosition(reach=Choice(1, 2)),
    )
    return Backbone(
        stem=PatchEmbed(image=(16, 24), patch=(8, 4)),
        stages=(
            Stage(
                dim=Choice(12, 16, 24),
                depth=Choice(1, 2, 3),
                block=Block(attention, MLP(ratio=Choice(1.0, 1.75, 2.0), layer_scale=True)),
            ),
        ),
        head=Head(classes=5, pool=Choice("mean", "class")),
    )


@pytest.fixture
def supernet(space: Backbone) -> Supernet:
    return randomized(Supernet(space, drop_path=0.4))


@pytest.fixture(scope="session")
def images() -> Tensor:
    return torch.randn(3, 3, 16, 24, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
