"""One small network with everything in it, and images for it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vitesse.arch import MLP, Attention, Backbone, Block, Head, PatchEmbed, RelativePosition, Stage
from vitesse.nets import Network, build


@pytest.fixture
def arch() -> Backbone:
    attention = Attention(heads=2, head_dim=8, qk_norm=True, layer_scale=True, position=RelativePosition(reach=2))
    return Backbone(
        stem=PatchEmbed(image=(16, 24), patch=(8, 4), tokens=("class", "register")),
        stages=(Stage(dim=16, depth=3, block=Block(attention, MLP(ratio=2.0))),),
        head=Head(classes=5),
    )


@pytest.fixture
def network(arch: Backbone) -> Network:
    torch.manual_seed(0)
    network = build(arch)
    for parameter in network.parameters():  # fresh layer scales and biases are nearly nothing: errors would hide there
        nn.init.normal_(parameter, std=0.3)
    return network.eval()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(4, 3, 16, 24, generator=torch.Generator().manual_seed(1))
