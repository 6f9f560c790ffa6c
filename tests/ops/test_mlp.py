"""The perceptron and its activations."""

from __future__ import annotations

from typing import get_args, get_type_hints

import pytest
import torch
from torch import nn
from torch.nn import functional

from vitesse.arch import MLP, Grid
from vitesse.ops.mlp import Perceptron, activation

ACTIVATIONS = get_args(get_type_hints(MLP)["act"])


def test_is_linear_activation_linear() -> None:
    torch.manual_seed(0)
    mlp = Perceptron(MLP(ratio=2.5), 10)
    x = torch.randn(2, 4, 10)
    by_hand = functional.gelu(x @ mlp.fc1.weight.T + mlp.fc1.bias) @ mlp.fc2.weight.T + mlp.fc2.bias
    assert mlp.fc1.weight.shape == (25, 10)
    torch.testing.assert_close(mlp(x, Grid(2, 2)), by_hand)
    assert {name for name, _ in Perceptron(MLP(bias=False), 10).named_parameters()} == {"fc1.weight", "fc2.weight"}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_that_a_value_may_name(name: str) -> None:
    x = torch.linspace(-3, 3, 7)
    truth = {
        "gelu": x * 0.5 * (1 + torch.erf(x / 2**0.5)),
        "gelu_tanh": functional.gelu(x, approximate="tanh"),
        "quick_gelu": x * torch.sigmoid(1.702 * x),
        "relu": x.clamp(min=0),
        "silu": x * torch.sigmoid(x),
    }
    module = activation(name)
    assert isinstance(module, nn.Module)
    torch.testing.assert_close(module(x), truth[name])
