"""Relative position as a row table plus a column table: the module behind `arch.RelativePosition`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitesse.arch import Grid, RelativePosition
from vitesse.ops.kept import kept
from vitesse.ops.separable import ByPlace, attend, by_place, one_hot_places, relative_terms, table_values


class RelativePositionTables(nn.Module):
    """The tables of one attention layer, shared by its heads (AutoFormer, section 3)."""

    def __init__(self, value: RelativePosition, head_dim: int) -> None:
        super().__init__()
        self.value = value
        for side in value.sides:
            for table, length in (("rows", 2 * value.reach + 1), ("columns", 2 * value.reach + 1), ("extra", 2)):
                parameter = nn.Parameter(torch.empty(length, head_dim))
                nn.init.trunc_normal_(parameter, std=0.02)
                self.register_parameter(f"{side}_{table}", parameter)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, grid: Grid) -> Tensor:
        """Softmax attention with the relative terms; q, k, v and the result are (B, heads, N, head_dim)."""
        sides = {side: self.by_place(side, grid) for side in self.value.sides}
        return attend(q, k, v, grid, key=sides.get("key"), value=sides.get("value"))

    def key_terms(self, x: Tensor, grid: Grid) -> Tensor:
        """What the relative positions of keys add to the scores of the queries x, scaled as the scores are to be.

        (B, heads, N, head_dim) to (B, heads, N, N).
        """
        return relative_terms(x, self.by_place("key", grid), grid) @ one_hot_places(grid, x).T

    def value_terms(self, probabilities: Tensor, grid: Grid) -> Tensor:
        """What the relative positions of values add to what is attended: (B, heads, N, N) to (B, heads, N, head_dim)."""
        masses = probabilities @ one_hot_places(grid, probabilities)
        return table_values(masses, self.by_place("value", grid), grid)

    def by_place(self, side: str, grid: Grid) -> ByPlace:
        """The tables of one side by the absolute places of query and key."""
        rows, columns, extra = (getattr(self, f"{side}_{table}") for table in ("rows", "columns", "extra"))
        reach, device = self.value.reach, rows.device
        return ByPlace(
            by_place(rows[None], offsets(grid.rows, reach, device)),
            by_place(columns[None], offsets(grid.columns, reach, device)),
            extra.sum(0, keepdim=True),
        )


@kept
def offsets(length: int, reach: int, device: torch.device) -> Tensor:
    """Which table entry a query at one place uses for a key at another: key minus query, clamped; (length, length)."""
    place = torch.arange(length, device=device)
    return (place[None, :] - place[:, None]).clamp(-reach, reach) + reach
