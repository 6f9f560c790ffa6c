"""Settings that say nothing change nothing; reordering an axis whose order is free changes nothing."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from vitesse.arch import Attention, Backbone, Block, largest, parameters
from vitesse.nets import Network, build
from vitesse.supernet import Supernet
from vitesse.weights.reorder import importance, most_important_first, reorder


def changed(arch: Backbone, **changes: object) -> Backbone:
    """`arch` with the attentions of all blocks changed."""
    stage = arch.stages[0]
    blocks = tuple(
        Block(dataclasses.replace(block.branches[0], **changes), *block.branches[1:])  # type: ignore[type-var]
        for block in stage.blocks
    )
    return dataclasses.replace(arch, stages=(dataclasses.replace(stage, block=blocks),))


def filled(network: Network, source: Network) -> Network:
    """`network` with the weights of `source`, as far as it has them."""
    own = network.double().state_dict()
    network.load_state_dict(own | {name: weight for name, weight in source.state_dict().items() if name in own})
    return network.eval()


@pytest.fixture
def plain(space: Backbone) -> Network:
    torch.manual_seed(0)
    network = build(changed(largest(space), position=None, layer_scale=False, qk_norm=False)).double().eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network


def test_zero_tables_are_no_positions(plain: Network, space: Backbone, images: Tensor) -> None:
    attention = largest(space).stages[0].blocks[0].branches[0]
    assert isinstance(attention, Attention)
    other = filled(build(changed(plain.arch, position=attention.position)), plain)
    for name, parameter in other.named_parameters():
        if ".position." in name:
            nn.init.zeros_(parameter)
    torch.testing.assert_close(other(images), plain(images), rtol=0, atol=1e-12)


def test_scales_of_one_are_no_scales(plain: Network, images: Tensor) -> None:
    other = filled(build(changed(plain.arch, layer_scale=True)), plain)
    for name, parameter in other.named_parameters():
        if name.endswith(".0.scale"):
            nn.init.ones_(parameter)
    torch.testing.assert_close(other(images), plain(images), rtol=0, atol=1e-12)


def test_a_packed_bias_of_the_whole_is_a_bias(plain: Network, images: Tensor) -> None:
    other = filled(build(changed(plain.arch, bias="packed")), plain)
    assert torch.equal(other(images), plain(images))


def test_a_mirrored_image_on_mirrored_tables_is_mirrored(space: Backbone, images: Tensor) -> None:
    arch = changed(largest(space), layer_scale=False)
    arch = dataclasses.replace(arch, stem=dataclasses.replace(arch.stem, position="none"))
    network = build(arch).double().eval()
    turned = images.flip(-1)
    upright = network.forward_intermediates(images, 1, intermediates_only=True)[0]
    for name, parameter in network.named_parameters():
        if name.endswith("_columns"):
            parameter.data = parameter.data.flip(0)
    network.stem.proj.weight.data = network.stem.proj.weight.data.flip(-1)
    mirrored = network.forward_intermediates(turned, 1, intermediates_only=True)[0]
    torch.testing.assert_close(mirrored.flip(-1), upright, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["heads", "hidden", "embed"])
def test_permuting_an_axis_changes_nothing(supernet: Supernet, images: Tensor, kind: str) -> None:
    network, shapes = supernet.network, parameters(supernet.host)
    before = network(images)
    axes = {axis.name: axis.size for shape in shapes.values() for dimension in shape for axis in dimension}
    generator = torch.Generator().manual_seed(3)
    order = {
        name: torch.randperm(size, generator=generator) for name, size in axes.items() if name.endswith(f".{kind}")
    }
    assert order
    permuted = reorder(network.state_dict(), shapes, order)
    assert any(not torch.equal(permuted[name], weight) for name, weight in network.state_dict().items())
    network.load_state_dict(permuted)
    torch.testing.assert_close(network(images), before, rtol=0, atol=1e-10)


def test_all_by_importance_changes_nothing(supernet: Supernet, images: Tensor) -> None:
    network, shapes = supernet.network, parameters(supernet.host)
    before = network(images)
    state = network.state_dict()
    network.load_state_dict(reorder(state, shapes, most_important_first(importance(state, shapes))))
    torch.testing.assert_close(network(images), before, rtol=0, atol=1e-10)
