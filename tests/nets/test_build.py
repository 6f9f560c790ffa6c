"""Building: from a value the network that it says, and nothing from a space."""

from __future__ import annotations

import dataclasses
import math
import random

import pytest
import torch
from timm.layers.drop import DropPath

from vitesse.arch import Backbone, Choice, sample
from vitesse.nets import build
from vitesse.nets.build import drop_path_rates


def rates(network: torch.nn.Module) -> list[float]:
    return [module.drop_prob for module in network.modules() if isinstance(module, DropPath)]


def test_a_space_has_no_network(arch: Backbone) -> None:
    space = dataclasses.replace(arch, stages=(dataclasses.replace(arch.stages[0], depth=Choice(1, 2)),))
    with pytest.raises(ValueError, match="A space has no network of its own: choose an architecture first"):
        build(space)
    assert build(sample(space, random.Random(0))).arch != space
    with pytest.raises(TypeError, match="takes an architecture, but got a str"):
        build("vit")


def test_the_same_seed_builds_the_same_network(arch: Backbone) -> None:
    networks = []
    for _ in range(2):
        torch.manual_seed(3)
        networks.append(build(arch).state_dict())
    assert all(torch.equal(networks[0][name], networks[1][name]) for name in networks[0])


def test_stochastic_depth_rises_over_the_blocks(arch: Backbone) -> None:
    assert drop_path_rates(0.2, 3) == pytest.approx([0.0, 0.1, 0.2]) and drop_path_rates(0.2, 1) == [0.0]
    assert rates(build(arch, drop_path=0.2)) == pytest.approx([0.0, 0.0, 0.1, 0.1, 0.2, 0.2])
    assert rates(build(arch, drop_path=[0.3, 0.2, 0.1, 0.9])) == pytest.approx([0.3, 0.3, 0.2, 0.2, 0.1, 0.1])
    with pytest.raises(ValueError, match=r"one rate for each of the 3 blocks, but got \[0.1\]"):
        build(arch, drop_path=[0.1])


def test_stochastic_depth_drops_in_training_only(arch: Backbone) -> None:
    network = build(arch, drop_path=[1.0 - 1e-9] * 3).eval()
    x = torch.randn(2, 3, 16, 24)
    plain = build(arch).eval()
    plain.load_state_dict(network.state_dict())
    assert torch.equal(network(x), plain(x))
    network.train()
    stem = network.stem(x)
    torch.testing.assert_close(network.forward_features(x), network.head.norm(stem))  # every branch is dropped


def test_the_start_is_small(arch: Backbone) -> None:
    torch.manual_seed(0)
    network = build(arch)
    assert 0.015 < network.get_parameter("stages.0.blocks.0.1.op.fc1.weight").std().item() < 0.025
    assert not network.get_parameter("head.classifier.bias").any()
    loss = torch.nn.functional.cross_entropy(network(torch.randn(8, 3, 16, 24)), torch.arange(8) % 5)
    assert abs(loss.item() - math.log(5)) < 0.2  # guesses, to begin with
