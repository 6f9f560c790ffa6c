"""Convolutions with batch normalization on tokens: the modules behind MBConv, LocalConv, Downsample and ConvStem.

Tokens (B, N, C) that lie on a map are (B, C, rows, columns) in the memory format "channels last": seeing them as the one
or the other copies nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitesse.arch import ConvStem, Downsample, Grid, LocalConv, MBConv
from vitesse.ops.folding import normalized_conv
from vitesse.ops.mlp import activation


def to_map(x: Tensor, grid: Grid) -> Tensor:
    """(B, N, C) to (B, C, rows, columns), a view."""
    on_map: Tensor = x.transpose(1, 2).unflatten(2, (grid.rows, grid.columns))
    return on_map


def to_tokens(x: Tensor) -> Tensor:
    """(B, C, rows, columns) to (B, N, C), a view where the memory is channels last."""
    return x.flatten(2).transpose(1, 2)


class ConvNorm(nn.Module):
    """A convolution without bias, padded to keep the map, and its batch normalization."""

    def __init__(self, into: int, out: int, kernel: int = 1, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(into, out, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, into, rows, columns) to (B, out, rows / stride, columns / stride), rounded up."""
        out: Tensor = self.norm(self.conv(x))
        return out

    def folded(self) -> nn.Conv2d:
        """One convolution with bias that computes the same in evaluation."""
        return normalized_conv(self.conv, self.norm)


class InvertedResidual(nn.Module):
    """1x1 to the hidden width, depthwise, 1x1 back; starts as nothing, so that the block starts as the identity."""

    def __init__(self, value: MBConv, embed: int) -> None:
        super().__init__()
        hidden = value.hidden(embed)
        self.expand = ConvNorm(embed, hidden)
        self.depthwise = ConvNorm(hidden, hidden, value.kernel, groups=hidden)
        self.project = ConvNorm(hidden, embed)
        self.act = activation(value.act)
        nn.init.zeros_(self.project.norm.weight)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """(B, N, embed) to (B, N, embed)."""
        y = self.act(self.expand(to_map(x, grid)))  # (B, hidden, rows, columns)
        y = self.act(self.depthwise(y))
        return to_tokens(self.project(y))


class LocalConvolution(nn.Module):
    """A depthwise convolution over the map; where it is added to the stream it starts as nothing."""

    def __init__(self, value: LocalConv, embed: int) -> None:
        super().__init__()
        self.depthwise = ConvNorm(embed, embed, value.kernel, groups=embed)
        if value.residual:
            nn.init.zeros_(self.depthwise.norm.weight)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """(B, N, embed) to (B, N, embed)."""
        return to_tokens(self.depthwise(to_map(x, grid)))


class Downsampling(nn.Module):
    """1x1 to the new width, depthwise with stride 2, 1x1."""

    def __init__(self, value: Downsample, previous: int, embed: int) -> None:
        super().__init__()
        self.expand = ConvNorm(previous, embed)
        self.depthwise = ConvNorm(embed, embed, 3, stride=value.stride, groups=embed)
        self.project = ConvNorm(embed, embed)
        self.act = activation(value.act)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """Tokens (B, N, previous) that lie on `grid` to (B, fewer, embed)."""
        y = self.act(self.expand(to_map(x, grid)))  # (B, embed, rows, columns)
        y = self.act(self.depthwise(y))  # (B, embed, rows / 2, columns / 2)
        return to_tokens(self.project(y))


class ConvTokens(nn.Module):
    """Strided convolutions from images to tokens."""

    def __init__(self, value: ConvStem, embed: int) -> None:
        super().__init__()
        self.value = value
        widths = value.widths(embed)
        self.convs = nn.ModuleList(
            ConvNorm(into, out, 3, stride=value.stride)
            for into, out in zip([value.channels, *widths], widths, strict=False)
        )
        self.act = activation(value.act)

    def grid(self, images: Tensor) -> Grid:
        """How the tokens of these images (B, C, H, W) lie."""
        return self.value.grid_of(*images.shape[-2:])

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to (B, N, embed)."""
        # So that the stream is channels last from its beginning, and nothing mixes two layouts.
        x = images.contiguous(memory_format=torch.channels_last)
        for i, conv in enumerate(self.convs):
            x = conv(self.act(x) if i else x)
        return to_tokens(x)
