"""Folding: the same in evaluation, with fewer layers; what is shared stays shared, what may not be folded stays."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from vitesse.arch import (
    MLP,
    Attention,
    Backbone,
    Block,
    CascadedAttention,
    ConvMLP,
    ConvStem,
    Downsample,
    Head,
    LocalConv,
    MBConv,
    PatchEmbed,
    Stage,
)
from vitesse.nets import Network, build
from vitesse.nets.fold import fold
from vitesse.nets.statistics import recalibrate
from vitesse.ops.cascaded_attention import FoldedHead

IMAGES = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
SEEN = (
    torch.rand(64, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    * torch.linspace(0.1, 2, 64)[:, None, None, None]
)


def trained(arch: Backbone) -> Network:
    """Weights and statistics as if it had learned."""
    torch.manual_seed(0)
    network = build(arch)
    for parameter in network.parameters():
        nn.init.normal_(parameter, mean=0.1, std=0.3)
    recalibrate(network, [SEEN])
    return network.eval()


def off(folded: nn.Module, network: nn.Module) -> float:
    with torch.no_grad():
        images = IMAGES.to(next(network.parameters()))
        found, wanted = folded(images), network(images)
    return float((found - wanted).abs().max() / wanted.abs().max())


def convolutional(share: int = 1) -> Backbone:
    first = Stage(dim=8, depth=2, share=share, block=Block(MBConv(ratio=2.0)))
    later = Stage(dim=12, depth=2, share=share, block=Block(LocalConv(), MLP(ratio=2.0)), down=Downsample(act="relu"))
    head = Head(classes=5, pool="mean", norm_first=False)
    return Backbone(stem=ConvStem(image=16), stages=(first, later), head=head)


def scaled(share: int = 1, own: tuple[str, ...] = ("norm",)) -> Backbone:
    block = Block(Attention(heads=2, head_dim=4, layer_scale=True), MLP(ratio=2.0, layer_scale=True))
    stage = Stage(dim=8, depth=2, block=block, share=share, own=own if share > 1 else ("norm",))
    return Backbone(stem=PatchEmbed(image=(16, 16), patch=(8, 8)), stages=(stage,), head=Head(classes=5))


def test_a_convolution_holds_its_normalization() -> None:
    network = trained(convolutional())
    folded = fold(network)
    assert off(folded, network) < 1e-5
    names = {type(module).__name__ for module in folded.modules()}
    assert not names & {"ConvNorm", "BatchNorm2d"}
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_in_training_it_would_not_be_the_same() -> None:
    """The check above can fail: the statistics of a batch are others."""
    network = trained(convolutional())
    assert off(fold(network), network.train()) > 1e-2


def test_shared_convolutions_stay_shared() -> None:
    """One with normalizations of each block's own cannot be folded, or it would be one for each block."""
    stages = tuple(dataclasses.replace(stage, own=()) for stage in convolutional(share=2).stages)
    together = trained(dataclasses.replace(convolutional(share=2), stages=stages))
    apart = trained(convolutional(share=2))
    assert off(fold(together), together) < 1e-5 and off(fold(apart), apart) < 1e-5
    blocks = fold(together).stages[0].blocks
    assert blocks[0][0].op.expand.weight is blocks[1][0].op.expand.weight
    blocks = fold(apart).stages[0].blocks
    assert blocks[0][0].op.expand.conv is blocks[1][0].op.expand.conv


def test_a_layer_scale_is_in_the_last_layer() -> None:
    network = trained(scaled())
    folded = fold(network)
    assert off(folded, network) < 1e-5
    assert not any(name.endswith("scale") for name, _ in folded.named_parameters())
    assert folded.stages[0].blocks[0][0].value == dataclasses.replace(
        network.stages[0].blocks[0][0].value, layer_scale=False
    )


@pytest.mark.parametrize(("own", "left"), [((), 0), (("norm",), 4)])
def test_a_shared_layer_takes_a_scale_only_if_it_is_everybodys(own: tuple[str, ...], left: int) -> None:
    network = trained(scaled(share=2, own=own))
    folded = fold(network)
    assert off(folded, network) < 1e-5
    assert sum(name.endswith("scale") for name, _ in folded.named_parameters()) == left


@pytest.mark.parametrize("bias", [True, False])
def test_a_normalization_before_the_classifier_becomes_part_of_it(bias: bool) -> None:
    network = trained(convolutional())
    network.head.norm = nn.BatchNorm1d(12)
    network.head.classifier = nn.Linear(12, 5, bias=bias)
    recalibrate(network, [SEEN])
    # In float64: features of a mean far above their spread lose digits in float32, folded or not.
    folded = fold(network.eval().double())
    assert off(folded, network) < 1e-12
    assert isinstance(folded.head.norm, nn.Identity) and folded.head.classifier.bias is not None


def test_a_network_of_another_make_is_copied() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten())
    folded = fold(network)
    assert off(folded, network.eval()) == 0.0 and isinstance(folded[1], nn.BatchNorm2d)
    assert folded[0].weight is not network[0].weight


def test_half_precision_keeps_its_type() -> None:
    network = trained(convolutional()).bfloat16()
    with torch.no_grad():
        wanted: Tensor = network(IMAGES.bfloat16())
        found: Tensor = fold(network)(IMAGES.bfloat16())
    assert found.dtype == torch.bfloat16
    assert float((found - wanted).abs().max()) < 0.1 * float(wanted.abs().max())


def cascaded(share: int = 1, own: tuple[str, ...] = ("norm",)) -> Backbone:
    block = Block(CascadedAttention(heads=2, kernels=(3, 5), key_dim=4), ConvMLP())
    stage = Stage(dim=8, depth=2, block=block, share=share, own=own if share > 1 else ("norm",))
    return Backbone(stem=ConvStem(image=16), stages=(stage,), head=Head(classes=5, pool="mean", norm_first=False))


@pytest.mark.parametrize(("share", "own", "made"), [(1, ("norm",), 4), (2, (), 2), (2, ("norm",), 0)])
def test_a_head_of_a_cascade_becomes_one_product(share: int, own: tuple[str, ...], made: int) -> None:
    """As many folded heads as there were heads with weights of their own; none where only norms tell them apart."""
    network = trained(cascaded(share, own)).double()
    folded = fold(network)
    assert off(folded, network) < 1e-12
    assert len({module for module in folded.modules() if isinstance(module, FoldedHead)}) == made
