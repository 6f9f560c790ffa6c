"""A residual branch: normalization, operation, layer scale, stochastic depth. Here a value meets its module."""

from __future__ import annotations

from functools import singledispatch

import torch
from timm.layers.drop import DropPath
from torch import Tensor, nn

from vitesse.arch import MLP, Attention, Downsample, Grid, LocalConv, MBConv, Operation, WindowAttention
from vitesse.ops.attention import SelfAttention
from vitesse.ops.convolution import Downsampling, InvertedResidual, LocalConvolution
from vitesse.ops.mlp import Perceptron, activation
from vitesse.ops.window_attention import WindowSelfAttention


@singledispatch
def operation(value: object, embed: int) -> nn.Module:
    """The module of an operation's value, for an embedding of this width."""
    raise TypeError(f"No module is known for the operation {type(value).__name__}.")


operation.register(Attention)(SelfAttention)
operation.register(LocalConv)(LocalConvolution)
operation.register(MBConv)(InvertedResidual)
operation.register(MLP)(Perceptron)
operation.register(WindowAttention)(WindowSelfAttention)


@singledispatch
def down(value: object, previous: int, embed: int) -> nn.Module:
    """The module of what leads into a stage, from this width to that."""
    raise TypeError(f"No module is known for the {type(value).__name__} before a stage.")


down.register(Downsample)(Downsampling)


class Branch(nn.Module):
    """after(x + drop_path(scale * op(norm(x)))); the operation's value says what of it there is."""

    def __init__(self, value: Operation, embed: int, *, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embed, eps=value.norm.eps) if value.norm is not None else nn.Identity()
        self.op = operation(value, embed)
        if value.layer_scale:
            self.scale = nn.Parameter(torch.full((embed,), 1e-5))
        self.scaled = value.layer_scale
        self.residual = value.residual
        self.after = nn.Identity() if value.after is None else activation(value.after)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """(B, N, embed) to (B, N, embed)."""
        y = self.op(self.norm(x), grid)
        y = y * self.scale if self.scaled else y
        out: Tensor = self.after(x + self.drop_path(y) if self.residual else y)
        return out
