"""Convolutions with batch normalization on tokens: the modules behind MBConv, LocalConv, Downsample, PlainConv, ConvStem.

Tokens (B, N, C) that lie on a map are (B, C, rows, columns) in the memory format "channels last": seeing them as the one
or the other copies nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitesse.arch import ConvStem, Downsample, Grid, LocalConv, MBConv, PlainConv
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
    """A convolution without bias and its batch normalization; padded to keep the map unless said otherwise.

    affine: whether the normalization has a factor and a shift of its own.
    """

    def __init__(
        self,
        into: int,
        out: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        padding: int | None = None,
        affine: bool = True,
    ) -> None:
        super().__init__()
        padding = kernel // 2 if padding is None else padding
        self.conv = nn.Conv2d(into, out, kernel, stride=stride, padding=padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(out, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        """(B, into, rows, columns) to (B, out, rows / stride, columns / stride), rounded up."""
        out: Tensor = self.norm(self.conv(x))
        return out

    def folded(self) -> nn.Conv2d:
        """One convolution with bias that computes the same in evaluation."""
        return normalized_conv(self.conv, self.norm)


class SqueezeExcite(nn.Module):
    """Each channel times a gate between 0 and 1 that the mean of the map decides."""

    def __init__(self, embed: int, hidden: int, *, gate: nn.Module) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(embed, hidden, 1)
        self.restore = nn.Conv2d(hidden, embed, 1)
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        """(B, embed, rows, columns) to the same shape."""
        mean = x.mean((2, 3), keepdim=True)  # (B, embed, 1, 1)
        gated: Tensor = x * self.gate(self.restore(self.reduce(mean).relu()))
        return gated


class InvertedResidual(nn.Module):
    """1x1 to the hidden width, depthwise, gates, 1x1 back; starts as nothing, so that the block starts as the identity."""

    def __init__(self, value: MBConv, embed: int) -> None:
        super().__init__()
        sizes = value.sizes(embed)
        hidden = sizes["hidden"]
        if value.expand:
            self.expand = ConvNorm(embed, hidden)
        self.depthwise = ConvNorm(hidden, hidden, value.kernel, groups=hidden)
        if value.squeeze:
            self.squeeze = SqueezeExcite(hidden, sizes["squeeze.hidden"], gate=nn.Hardsigmoid())
        self.project = ConvNorm(hidden, embed)
        self.value = value
        self.act = activation(value.act)
        nn.init.zeros_(self.project.norm.weight)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """(B, N, embed) to (B, N, embed)."""
        y = to_map(x, grid)
        y = self.act(self.expand(y)) if self.value.expand else y  # (B, hidden, rows, columns)
        y = self.act(self.depthwise(y))
        return to_tokens(self.project(self.squeeze(y) if self.value.squeeze else y))


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
    """1x1, depthwise with a stride, gates, 1x1 to the new width."""

    def __init__(self, value: Downsample, previous: int, embed: int) -> None:
        super().__init__()
        sizes = value.sizes(previous, embed)
        hidden = sizes["hidden"]
        if value.expand:
            self.expand = ConvNorm(previous, hidden)
        self.depthwise = ConvNorm(hidden, hidden, value.kernel, stride=value.stride, groups=hidden)
        if value.squeeze:
            self.squeeze = SqueezeExcite(hidden, sizes["squeeze.hidden"], gate=nn.Hardsigmoid())
        self.project = ConvNorm(hidden, embed)
        self.act = activation(value.act)
        self.value = value

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """Tokens (B, N, previous) that lie on `grid` to (B, fewer, embed)."""
        y = to_map(x, grid)
        y = self.act(self.expand(y)) if self.value.expand else y  # (B, hidden, rows, columns)
        y = self.act(self.depthwise(y))  # (B, hidden, rows / stride, columns / stride)
        return to_tokens(self.project(self.squeeze(y) if self.value.squeeze else y))


class PlainConvolution(nn.Module):
    """A convolution to the new width, activation."""

    def __init__(self, value: PlainConv, previous: int, embed: int) -> None:
        super().__init__()
        self.project = ConvNorm(previous, embed, value.kernel)
        self.act = activation(value.act)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """Tokens (B, N, previous) that lie on `grid` to (B, N, embed)."""
        return to_tokens(self.act(self.project(to_map(x, grid))))


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
        return to_tokens(self.act(x) if self.value.act_last else x)
