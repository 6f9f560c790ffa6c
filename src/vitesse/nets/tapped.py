"""A network that gives its maps beside its logits."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from vitesse.nets.cells import NetworkOfCells
from vitesse.nets.network import NetworkOfBlocks


class Tapped(NamedTuple):
    """What a network makes of images: the map (B, dim, rows, columns) at the end of each stage, and the logits (B, classes)."""

    maps: tuple[Tensor, ...]
    logits: Tensor


class Tapping(nn.Module):
    """Images (B, C, H, W) to the maps and logits of a network."""

    def __init__(self, network: NetworkOfBlocks | NetworkOfCells) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tapped:
        """Maps from the first stage to the last, and logits."""
        # In a plain network of one stage each block has a place among the maps.
        plain = isinstance(self.network, NetworkOfBlocks) and len(self.network.stages) == 1
        last, maps = self.network.forward_intermediates(images, indices=1 if plain else None)
        return Tapped(tuple(maps), self.network.forward_head(last))
