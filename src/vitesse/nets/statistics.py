"""Running statistics of batch normalization: gathered anew for a network whose own are another one's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def recalibrate(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace the running statistics by the mean over `batches` of images (B, C, H, W); the mode stays as it is.

    Without batch normalization nothing is computed.
    """
    layers = normalizations(network)
    for layer in layers:
        layer.reset_running_stats()
    if layers:
        with gathering(network):
            for images in batches:
                network(images)


@contextmanager
def gathering(network: nn.Module) -> Iterator[None]:
    """While this is open, batch normalization uses each batch's own statistics and gathers their mean over batches.

    All else stays in its mode, so that nothing is drawn at random in evaluation.
    """
    layers = normalizations(network)
    before = [(layer.training, layer.momentum) for layer in layers]
    for layer in layers:
        layer.training, layer.momentum = True, None  # no momentum: the plain mean of all batches
    try:
        yield
    finally:
        for layer, (training, momentum) in zip(layers, before, strict=True):
            layer.training, layer.momentum = training, momentum


def normalizations(network: nn.Module) -> list[_BatchNorm]:
    """The layers that keep running statistics."""
    return [layer for layer in network.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]


def fresh(statistics: dict[str, Tensor]) -> dict[str, Tensor]:
    """Running statistics of these names and shapes that have seen nothing yet."""
    return {
        name: torch.ones_like(tensor) if name.endswith("running_var") else torch.zeros_like(tensor)
        for name, tensor in statistics.items()
    }
