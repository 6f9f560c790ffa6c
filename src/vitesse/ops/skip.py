"""The operation that does nothing: the module behind `arch.Skip`."""

from __future__ import annotations

from torch import Tensor, nn

from vitesse.arch import Grid, Skip


class Skipping(nn.Module):
    """The stream as it is."""

    def __init__(self, value: Skip, embed: int) -> None:
        super().__init__()

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """(B, N, embed) to the same."""
        return x
