"""A residual branch: normalization, operation, layer scale, stochastic depth. Here a value meets its module."""

from __future__ import annotations

from functools import singledispatch

import torch
from timm.layers.drop import DropPath
from torch import Tensor, nn

from vitesse.arch import MLP, Attention, Grid, Operation
from vitesse.ops.attention import SelfAttention
from vitesse.ops.mlp import Perceptron


@singledispatch
def operation(value: object, embed: int) -> nn.Module:
    """The module of an operation's value, for an embedding of this width."""
    raise TypeError(f"No module is known for the operation {type(value).__name__}.")


operation.register(Attention)(SelfAttention)
operation.register(MLP)(Perceptron)


class Branch(nn.Module):
    """x + drop_path(scale * op(norm(x)))."""

    def __init__(self, value: Operation, embed: int, *, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embed, eps=value.norm.eps) if value.norm is not None else nn.Identity()
        self.op = operation(value, embed)
        if value.layer_scale:
            self.scale = nn.Parameter(torch.full((embed,), 1e-5))
        self.scaled = value.layer_scale
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """(B, N, embed) to (B, N, embed)."""
        y = self.op(self.norm(x), grid)
        out: Tensor = x + self.drop_path(y * self.scale if self.scaled else y)
        return out
