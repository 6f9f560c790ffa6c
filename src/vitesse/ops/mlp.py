"""The two-layer perceptron: the module behind `arch.MLP`."""

from __future__ import annotations

from timm.layers.activations import QuickGELU
from torch import Tensor, nn

from vitesse.arch import MLP, Grid


class Perceptron(nn.Module):
    """Linear, activation, linear, on each token alone."""

    def __init__(self, value: MLP, embed: int) -> None:
        super().__init__()
        hidden = value.hidden(embed)
        self.fc1 = nn.Linear(embed, hidden, bias=value.bias)
        self.act = activation(value.act)
        self.fc2 = nn.Linear(hidden, embed, bias=value.bias)

    @property
    def last(self) -> nn.Linear:
        """The layer that computes what this one gives."""
        return self.fc2

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """(B, N, embed) to (B, N, embed)."""
        out: Tensor = self.fc2(self.act(self.fc1(x)))  # (B, N, hidden) between
        return out


def activation(name: str) -> nn.Module:
    """The activation of that name, as `arch.MLP.act` has it."""
    if name == "gelu_tanh":
        return nn.GELU(approximate="tanh")
    modules: dict[str, type[nn.Module]] = {
        "gelu": nn.GELU,
        "quick_gelu": QuickGELU,
        "relu": nn.ReLU,
        "silu": nn.SiLU,
    }
    return modules[name]()
