"""A subnet of the supernet and the network cut out of it are one: outputs, gradients, updates."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

from vitesse.arch import Backbone, largest, parameters, sample, smallest
from vitesse.supernet import Supernet, inherit
from vitesse.weights.slice import slice_state


@pytest.mark.parametrize("seed", range(12))
def test_the_extracted_network_equals_the_slice(space: Backbone, supernet: Supernet, images: Tensor, seed: int) -> None:
    arch = sample(space, random.Random(seed))
    extracted = inherit(supernet.network, arch)
    assert extracted.arch == arch and not extracted.training
    torch.testing.assert_close(extracted(images), supernet(images, arch), rtol=0, atol=1e-12)

    extracted(images).square().sum().backward()
    supernet(images, arch).square().sum().backward()
    # Scatter by the slice itself: the part of the big gradient that the small network's weights came from.
    whole = {
        name: torch.zeros_like(weight) if weight.grad is None else weight.grad
        for name, weight in supernet.network.named_parameters()
    }
    cut = slice_state(whole, parameters(supernet.host), parameters(arch))
    for name, weight in extracted.named_parameters():
        assert weight.grad is not None
        torch.testing.assert_close(cut[name], weight.grad, rtol=1e-9, atol=1e-9)
    # And nothing beside it: what lies outside of the slice has no gradient.
    inside = sum(float(part.abs().sum()) for part in cut.values())
    assert sum(float(part.abs().sum()) for part in whole.values()) == pytest.approx(inside, rel=1e-9)


def test_the_largest_is_the_plain_network(space: Backbone, supernet: Supernet, images: Tensor) -> None:
    assert supernet.host == largest(space)
    assert torch.equal(supernet(images), supernet.network(images))
    assert torch.equal(supernet(images, largest(space)), supernet.network(images))
    # Also by way of a slice of a bigger host.
    hosted = Supernet(smallest(space), host=supernet.host).double().eval()
    hosted.network.load_state_dict(supernet.network.state_dict())
    torch.testing.assert_close(hosted(images, smallest(space)), supernet(images, smallest(space)), rtol=0, atol=1e-12)


def test_blocks_that_are_not_there_have_no_gradient_and_do_not_move(
    space: Backbone, supernet: Supernet, images: Tensor
) -> None:
    """None, not zero: momentum and weight decay of an optimizer would move what has a zero."""
    optimizer = torch.optim.AdamW(supernet.parameters(), lr=0.1, weight_decay=0.1)
    supernet(images).square().sum().backward()
    optimizer.step()  # every weight has momentum now
    before = {name: weight.detach().clone() for name, weight in supernet.named_parameters()}
    optimizer.zero_grad(set_to_none=True)
    shallow = smallest(space)
    assert shallow.stages[0].depth == 1
    supernet(images, shallow).square().sum().backward()
    optimizer.step()
    for name, weight in supernet.named_parameters():
        absent = ".blocks.1." in name or ".blocks.2." in name
        assert (weight.grad is None) == absent, name
        assert torch.equal(weight, before[name]) == absent, name


def test_two_subnets_in_one_expression(space: Backbone, supernet: Supernet, images: Tensor) -> None:
    one, other = sample(space, random.Random(1)), sample(space, random.Random(2))
    assert one != other
    alone = [supernet(images, arch).detach() for arch in (one, other)]
    together = (supernet(images, one), supernet(images, other))
    assert all(torch.equal(*pair) for pair in zip(alone, together, strict=True))

    sum(out.square().sum() for out in together).backward()
    both = {name: weight.grad.clone() for name, weight in supernet.named_parameters() if weight.grad is not None}
    supernet.zero_grad(set_to_none=True)
    for arch in (one, other):
        supernet(images, arch).square().sum().backward()
    for name, weight in supernet.named_parameters():
        assert (weight.grad is None) == (name not in both)
        if weight.grad is not None:
            torch.testing.assert_close(weight.grad, both[name], rtol=1e-9, atol=1e-9)


def test_a_smaller_reach_keeps_distance_nought(space: Backbone, supernet: Supernet) -> None:
    small = inherit(supernet.network, smallest(space)).state_dict()
    name = "stages.0.blocks.0.0.op.position.key_rows"
    assert torch.equal(small[name][1], supernet.network.state_dict()[name][2, :4])
