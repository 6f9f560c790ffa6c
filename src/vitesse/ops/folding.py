"""Factors and shifts of each channel made a part of the weights before or after them; computed in float64."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def affine(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """What a batch normalization does to each channel in evaluation: x * scale + shift, (channels,) each."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    shift = -norm.running_mean.double() * scale
    if not norm.affine:
        return scale, shift
    return scale * norm.weight.double(), shift * norm.weight.double() + norm.bias.double()


def normalized_conv(conv: nn.Conv2d, norm: _BatchNorm) -> nn.Conv2d:
    """One convolution with bias for a convolution and the batch normalization after it."""
    return scaled_conv(conv, *affine(norm))


@torch.no_grad()
def scaled_conv(conv: nn.Conv2d, scale: Tensor, shift: Tensor) -> nn.Conv2d:
    """One convolution with bias for a convolution, a factor and a shift (channels,) after it."""
    bias = shift if conv.bias is None else shift + conv.bias.double() * scale
    out = copy.deepcopy(conv)
    out.weight.copy_(conv.weight.double() * scale[:, None, None, None])
    out.bias = nn.Parameter(bias.to(conv.weight))
    return out


@torch.no_grad()
def normalized_linear(norm: _BatchNorm, linear: nn.Linear) -> nn.Linear:
    """One linear layer for a batch normalization and the linear layer after it."""
    scale, shift = affine(norm)
    weight = linear.weight.double()  # (out, in)
    bias = weight @ shift if linear.bias is None else weight @ shift + linear.bias.double()
    out = copy.deepcopy(linear)
    out.weight.copy_(weight * scale)
    out.bias = nn.Parameter(bias.to(linear.weight))
    return out


@torch.no_grad()
def scale_out(layer: nn.Module, scale: Tensor) -> None:
    """Let a linear layer or a convolution multiply each channel of its output by `scale` (channels,) itself."""
    assert isinstance(layer, (nn.Linear, nn.Conv2d))
    factor = scale.double()
    layer.weight.copy_(layer.weight.double() * factor.view(-1, *[1] * (layer.weight.ndim - 1)))
    if layer.bias is not None:
        layer.bias.copy_(layer.bias.double() * factor)
