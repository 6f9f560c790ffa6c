"""The laws hold for hierarchical networks with convolutions and running statistics, too."""

from __future__ import annotations

import random

import pytest
import torch
from tests.laws.conftest import randomized
from torch import Tensor

from vitesse.arch import (
    MLP,
    Backbone,
    Block,
    Choice,
    ConvStem,
    Downsample,
    Head,
    LocalConv,
    MBConv,
    Stage,
    WindowAttention,
    buffers,
    largest,
    parameters,
    sample,
    smallest,
)
from vitesse.nets.statistics import normalizations, recalibrate
from vitesse.supernet import Supernet, inherit
from vitesse.weights.reorder import importance, most_important_first, reorder


@pytest.fixture(scope="module")
def space() -> Backbone:
    attention = WindowAttention(heads=Choice(1, 2, 3), head_dim=Choice(4, 8), window=Choice(2, 3, 4))
    block = Block(attention, LocalConv(kernel=Choice(3, 5)), MLP(ratio=Choice(1.0, 1.75, 2.0)))
    first = Block(MBConv(ratio=Choice(1.0, 2.0, 3.0), kernel=Choice(1, 3)))
    later = {"dim": Choice(12, 16, 20), "depth": Choice(1, 2), "block": block, "down": Downsample()}
    return Backbone(
        stem=ConvStem(image=(28, 36), layers=2),
        stages=(Stage(dim=Choice(8, 10, 12), depth=Choice(1, 2), block=first), Stage(**later), Stage(**later)),
        head=Head(classes=5, pool="mean", norm_first=False),
    )


@pytest.fixture
def supernet(space: Backbone) -> Supernet:
    return randomized(Supernet(space, drop_path=0.4))


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(3, 3, 28, 36, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("seed", range(8))
def test_the_extracted_network_equals_the_slice(space: Backbone, supernet: Supernet, images: Tensor, seed: int) -> None:
    arch = sample(space, random.Random(seed))
    extracted = inherit(supernet.network, arch)
    torch.testing.assert_close(extracted(images), supernet(images, arch), rtol=0, atol=1e-10)
    extracted(images).square().sum().backward()
    supernet(images, arch).square().sum().backward()
    inside = sum(float(weight.grad.abs().sum()) for weight in extracted.parameters())  # type: ignore[union-attr]
    whole = sum(float(weight.grad.abs().sum()) for weight in supernet.parameters() if weight.grad is not None)
    assert whole == pytest.approx(inside, rel=1e-9)


def test_the_largest_is_the_plain_network(space: Backbone, supernet: Supernet, images: Tensor) -> None:
    hosted = Supernet(smallest(space), host=supernet.host).double().eval()
    hosted.network.load_state_dict(supernet.network.state_dict())
    torch.testing.assert_close(hosted(images, smallest(space)), supernet(images, smallest(space)), rtol=0, atol=1e-12)
    assert torch.equal(supernet(images, largest(space)), supernet.network(images))


@pytest.mark.parametrize("kind", ["heads", "hidden", "embed"])
def test_permuting_an_axis_changes_nothing(supernet: Supernet, images: Tensor, kind: str) -> None:
    network, shapes = supernet.network, parameters(supernet.host) | buffers(supernet.host)
    before = network(images)
    axes = {axis.name: axis.size for shape in shapes.values() for dimension in shape for axis in dimension}
    generator = torch.Generator().manual_seed(3)
    order = {
        name: torch.randperm(size, generator=generator) for name, size in axes.items() if name.endswith(f".{kind}")
    }
    assert len(order) > 2
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    permuted = reorder(state, shapes, order)
    changed = {name for name, tensor in permuted.items() if not torch.equal(tensor, state[name])}
    assert any("running_mean" in name for name in changed) == (kind != "heads")
    network.load_state_dict(permuted)
    torch.testing.assert_close(network(images), before, rtol=0, atol=1e-9)


def test_all_by_importance_changes_nothing(supernet: Supernet, images: Tensor) -> None:
    network, shapes = supernet.network, parameters(supernet.host)
    before, state = network(images), network.state_dict()
    order = most_important_first(importance(state, shapes))
    network.load_state_dict(reorder(state, shapes | buffers(supernet.host), order))
    torch.testing.assert_close(network(images), before, rtol=0, atol=1e-9)


def test_a_smaller_window_keeps_the_small_offsets(space: Backbone, supernet: Supernet) -> None:
    small = inherit(supernet.network, smallest(space)).state_dict()
    name = "stages.1.blocks.0.0.op.position.offset_bias"
    table = supernet.network.state_dict()[name].view(3, 4, 4)
    assert torch.equal(small[name].view(1, 2, 2), table[:1, :2, :2])


def test_a_smaller_kernel_keeps_the_centre(space: Backbone, supernet: Supernet) -> None:
    small = inherit(supernet.network, smallest(space)).state_dict()
    name = "stages.1.blocks.0.1.op.depthwise.conv.weight"
    assert torch.equal(small[name], supernet.network.state_dict()[name][:12, :, 1:4, 1:4])


def test_training_writes_statistics_through_the_slice(space: Backbone, supernet: Supernet, images: Tensor) -> None:
    arch = smallest(space)
    before = {name: buffer.clone() for name, buffer in supernet.network.named_buffers()}
    supernet.train()(images, arch)
    name = "stages.0.blocks.0.0.op.expand.norm.running_mean"
    after = dict(supernet.network.named_buffers())
    assert (after[name][:8] != before[name][:8]).all() and torch.equal(after[name][8:], before[name][8:])
    deeper = "stages.0.blocks.1.0.op.expand.norm.running_mean"
    assert torch.equal(after[deeper], before[deeper])


def test_a_subnet_gathers_statistics_of_its_own(space: Backbone, supernet: Supernet, images: Tensor) -> None:
    """As the extracted network would; nothing in the supernet moves, and another subnet sees nothing of it."""
    one, other = smallest(space), sample(space, random.Random(3))
    before = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    seen = supernet(images, other)
    batches = [images, images.flip(0) * 2]
    own = supernet.statistics(one, batches)
    extracted = inherit(supernet.network, one)
    recalibrate(extracted, batches)
    assert own.keys() == {name for name, _ in extracted.named_buffers()}
    torch.testing.assert_close(supernet(images, one, statistics=own), extracted(images), rtol=0, atol=1e-10)
    assert not torch.allclose(supernet(images, one), extracted(images))
    assert torch.equal(supernet(images, other), seen)
    assert all(torch.equal(tensor, before[name]) for name, tensor in supernet.state_dict().items())
    assert not any(layer.training or layer.momentum is None for layer in normalizations(supernet))


def test_a_block_keeps_the_rate_of_its_place(space: Backbone) -> None:
    """Six places in three stages: a shallow stage does not shift the rates of the next one."""
    supernet = Supernet(space, drop_path=0.5)
    plain, _ = supernet._skeleton(smallest(space))
    rates = [stage.blocks[0][0].drop_path.drop_prob for stage in plain.stages]  # type: ignore[union-attr, index]
    assert rates == pytest.approx([0.0, 0.2, 0.4])
