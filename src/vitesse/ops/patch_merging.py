"""Patch merging: the module behind `arch.PatchMerging`."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from vitesse.arch import Grid, PatchMerging


class Merging(nn.Module):
    """2 x 2 neighbours to one token: joined down each column first, normalized, mapped (or mapped, then normalized)."""

    def __init__(self, value: PatchMerging, previous: int, embed: int) -> None:
        super().__init__()
        self.value = value
        self.norm = nn.LayerNorm(embed if value.post_norm else 4 * previous, eps=value.norm.eps)
        self.reduction = nn.Linear(4 * previous, embed, bias=False)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """Tokens (B, N, previous) that lie on `grid` to (B, fewer, embed)."""
        x = x.unflatten(1, (grid.rows, grid.columns))
        if grid.rows % 2 or grid.columns % 2:
            x = functional.pad(x, (0, 0, 0, grid.columns % 2, 0, grid.rows % 2))
        x = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # (B, rows / 2, 2, columns / 2, 2, previous)
        x = x.permute(0, 1, 3, 4, 2, 5).flatten(3).flatten(1, 2)  # (B, fewer, 4 previous)
        out: Tensor = self.norm(self.reduction(x)) if self.value.post_norm else self.reduction(self.norm(x))
        return out
