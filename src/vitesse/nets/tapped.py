"""A network that gives its features beside its logits."""

from __future__ import annotations

from torch import Tensor, nn

from vitesse.nets.network import NetworkOfBlocks


class Tapped(nn.Module):
    """Images (B, C, H, W) to the logits and the features (B, dim, rows, columns) at the end of every stage."""

    def __init__(self, network: NetworkOfBlocks) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits (B, classes), and features from the first stage to the last."""
        # In a network of one stage each block has a place among the features.
        last = 1 if len(self.network.stages) == 1 else None
        tokens, found = self.network.forward_intermediates(images, indices=last)
        return self.network.forward_head(tokens), found
