"""A network as it is served, and what every exporter needs of it: an example of its images, and which sides are free."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from vitesse.arch import MLP, CellNetwork, ConvMLP, ConvStem, LocalConv, MBConv, Skip, WindowAttention
from vitesse.data import Preprocess
from vitesse.deploy.metadata import Metadata
from vitesse.errors import UsageError, VitesseError
from vitesse.nets import Network
from vitesse.nets.fold import fold

# What computes the same at every place of a map of any size, apart from the windows, which have to fit.
_ANY_SIZE = (MLP, ConvMLP, LocalConv, MBConv, Skip, WindowAttention)


class Served(nn.Module):
    """A network with its normalisation before it: images in 0..1 -> logits."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, preprocess: Preprocess) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(preprocess.mean).view(-1, 1, 1))  # (C, 1, 1)
        self.register_buffer("std", torch.tensor(preprocess.std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network((images - self.mean) / self.std)
        return logits


def served(model: nn.Module, preprocess: Preprocess) -> Served:
    """A copy of the network as it will be served: folded, float32, on the CPU, in evaluation mode, normalisation inside."""
    return Served(fold(unfolded(model, preprocess).network), preprocess).eval()


def unfolded(model: nn.Module, preprocess: Preprocess) -> Served:
    """The same with the network's own layers: what an export is compared with."""
    return Served(copy.deepcopy(model).cpu().float(), preprocess).eval()


def example(network: nn.Module, metadata: Metadata, steps: int | None = None) -> tuple[Tensor, dict[int, Any]]:
    """Images (2, C, H, W) to trace with, and their free dimensions for `torch.export`.

    VitesseError unless the network gives one logit for each class.
    """
    free: dict[int, Any] = {0: torch.export.Dim("batch")}
    height, width = metadata.preprocess.size
    if steps is not None:
        # Sides of their own, and none of one step: what is equal or 1 in the example would be taken for a constant.
        height, width = 2 * steps, 3 * steps
        free |= {2: steps * torch.export.Dim("rows", max=64), 3: steps * torch.export.Dim("columns", max=64)}
    # A batch of 1 would be taken for a constant here and there; the file would then fail at batch 3.
    images = torch.rand(2, metadata.preprocess.channels, height, width, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        logits = network(images)
    if not isinstance(logits, Tensor) or tuple(logits.shape) != (2, len(metadata.classes)):
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise VitesseError(
            f"The network must give one logit for each of the {len(metadata.classes)} classes, (2, "
            f"{len(metadata.classes)}) for two images, but it gives {found}. Name as many classes as it has."
        )
    return images, free


def size_steps(model: nn.Module) -> int:
    """The sides that images may have where their size is left open are the multiples of this.

    UsageError for a network that learned positions of its map, or whose own image has other sides.
    """
    if not isinstance(model, Network):
        raise UsageError("The image size can be left open for networks of Vitesse only.")
    arch = model.arch
    if isinstance(arch, CellNetwork):
        steps = arch.reductions[-1]
        return _fitting(steps, arch.stem.image, "the strides of its cells")
    others = {type(one).__name__ for stage in arch.stages for block in stage.blocks for one in block.branches
              if not isinstance(one, _ANY_SIZE)}  # fmt: skip
    if not isinstance(arch.stem, ConvStem) or others:
        found = " and ".join(sorted(others | {type(arch.stem).__name__}))
        raise UsageError(
            f"The image size can be left open where no position on the map was learned, but this network has {found}. "
            "Leave --dynamic-size out."
        )
    steps = 1
    for stage, reduction in zip(arch.stages, arch.reductions, strict=True):
        windows = [one.window for block in stage.blocks for one in block.branches if isinstance(one, WindowAttention)]
        steps = math.lcm(steps, *(reduction * window for window in (1, *windows)))
    return _fitting(steps, arch.stem.image, "the windows' sizes on the image")


def _fitting(steps: int, image: tuple[int, int], reason: str) -> int:
    if any(side % steps for side in image):
        raise UsageError(
            f"The image size can be left open in steps of {steps}, {reason}, but the network's own image {image} is no "
            "multiple of that. Leave --dynamic-size out."
        )
    return steps


def cause(error: Exception) -> str:
    """The first line of what an exporter's error wraps."""
    inner = error.__cause__ or error
    return (str(inner).strip().splitlines() or [type(inner).__name__])[0]
