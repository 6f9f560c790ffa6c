"""The operations of cells on maps (B, C, H, W), in the order ReLU, convolution, batch normalization (DARTS, section 3.1).

All keep the number of channels. Of stride 2 they round an odd side up, as pooling does.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from vitesse.arch.cells import kernel_of, units_of
from vitesse.ops.convolution import ConvNorm
from vitesse.ops.folding import affine as affine_of
from vitesse.ops.folding import scaled_conv


def cell_operation(name: str, channels: int, *, stride: int, affine: bool) -> nn.Module:
    """The module of an operation of `arch.cells.OPERATIONS`; affine: whether normalizations have factors of their own."""
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else FactorizedReduction(channels, channels, affine=affine)
    kernel = kernel_of(name)
    if name == "max_pool_3x3":
        return nn.MaxPool2d(kernel, stride, kernel // 2)
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(kernel, stride, kernel // 2, count_include_pad=False)
    if units_of(name) == 1:
        return SeparableConv(channels, kernel, stride=stride, dilation=2, affine=affine)
    steps = (stride, 1)
    return nn.Sequential(*(SeparableConv(channels, kernel, stride=step, affine=affine) for step in steps))


class Projection(nn.Module):
    """ReLU, 1x1 convolution, batch normalization."""

    def __init__(self, into: int, out: int, *, affine: bool) -> None:
        super().__init__()
        self.project = ConvNorm(into, out, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        """(B, into, H, W) to (B, out, H, W)."""
        projected: Tensor = self.project(functional.relu(x))
        return projected


class SeparableConv(nn.Module):
    """ReLU, depthwise convolution, 1x1 convolution, batch normalization."""

    def __init__(self, channels: int, kernel: int, *, stride: int, affine: bool, dilation: int = 1) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            channels, channels, kernel, stride, dilation * (kernel // 2), dilation, groups=channels, bias=False
        )
        self.pointwise = ConvNorm(channels, channels, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to (B, channels, H / stride, W / stride)."""
        out: Tensor = self.pointwise(self.depthwise(functional.relu(x)))
        return out


class FactorizedReduction(nn.Module):
    """ReLU, then half of the channels from the even places of the map and half from the odd ones, normalized together.

    The published one fails on a map with an odd side; here the odd places are filled up with zeros.
    """

    def __init__(self, into: int, out: int, *, affine: bool) -> None:
        super().__init__()
        self.even = nn.Conv2d(into, out // 2, 1, 2, bias=False)
        self.odd = nn.Conv2d(into, out // 2, 1, 2, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(out, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        """(B, into, H, W) to (B, out, H / 2, W / 2), rounded up."""
        x = functional.relu(x)
        rows, columns = x.shape[-2] % 2, x.shape[-1] % 2
        shifted = functional.pad(x, (0, columns, 0, rows)) if rows or columns else x
        halves = torch.cat([self.even(x), self.odd(shifted[:, :, 1:, 1:])], 1)
        normed: Tensor = self.norm(halves)
        return normed

    def folded(self) -> FactorizedReduction:
        """A copy whose two convolutions have a bias each, and compute the same without the normalization."""
        if not isinstance(self.norm, nn.BatchNorm2d):
            return self
        out = copy.deepcopy(self)
        parts = zip(*(tensor.chunk(2) for tensor in affine_of(self.norm)), strict=True)
        out.even, out.odd = (
            scaled_conv(conv, scale, shift) for conv, (scale, shift) in zip((self.even, self.odd), parts, strict=True)
        )
        out.norm = nn.Identity()
        return out


class PooledHead(nn.Module):
    """A classifier on a map within a network: ReLU, average pooling, 1x1 to 128, 2x2 to 768, mean over the map, linear.

    Both convolutions are followed by batch normalization and ReLU; with `norm` False the second by ReLU alone. Without a
    `pool`, or where a map is too small for it to leave two places a side, the map is averaged into 2 x 2 parts. hidden: in
    the place of 128 and 768.
    """

    def __init__(
        self,
        dim: int,
        classes: int,
        *,
        pool: int | None,
        stride: int,
        norm: bool = True,
        affine: bool = True,
        hidden: tuple[int, int] = (128, 768),
    ) -> None:
        super().__init__()
        self.window, self.stride = pool, stride
        first, second = hidden
        self.reduce = ConvNorm(dim, first, affine=affine)
        self.expand = (
            ConvNorm(first, second, 2, padding=0, affine=affine) if norm else nn.Conv2d(first, second, 2, bias=False)
        )
        self.classifier = nn.Linear(second, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, H, W) to logits (B, classes)."""
        x = functional.relu(x)
        if self.window is not None and min(x.shape[-2:]) >= self.window + self.stride:
            x = functional.avg_pool2d(x, self.window, self.stride)
        else:
            x = functional.adaptive_avg_pool2d(x, 2)
        x = functional.relu(self.reduce(x))
        x = functional.relu(self.expand(x))
        logits: Tensor = self.classifier(x.mean((2, 3)))
        return logits
