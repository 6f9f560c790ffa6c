"""Relative position as a row table plus a column table, at the price of a few more columns of q, k and v.

The term q_i . (R[row_j - row_i] + C[column_j - column_i]) is a plain dot product once q_i is extended by its products
with the tables, arranged by absolute row and column, and k_j by one-hot vectors of its own row and column. On the value
side v is extended by the same one-hots; what is attended of them are the attention's masses for each row and column,
which then meet the tables. So no (N, N, head_dim) tensor exists, and fused attention stays.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from vitesse.arch import Grid, RelativePosition

ALIGNED = 16  # fused attention is faster where its width is a multiple of this; columns of zeros change nothing


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
        scale = q.shape[-1] ** -0.5
        places = one_hot_places(grid, k)  # (N, rows + columns + 1)
        known = places.shape[-1]
        spare = -(k.shape[-1] + known) % ALIGNED
        places = functional.pad(places, (0, spare)).expand(*k.shape[:2], -1, -1)
        if "key" in self.value.sides:
            terms = functional.pad(self._key_terms(q, grid), (0, spare))
            q, k = torch.cat([q, terms], -1), torch.cat([k, places], -1)
        if "value" not in self.value.sides:
            return functional.scaled_dot_product_attention(q, k, v, scale=scale)
        extended = functional.scaled_dot_product_attention(q, k, torch.cat([v, places], -1), scale=scale)
        out, masses, _ = torch.split(extended, [v.shape[-1], known, spare], -1)
        joined: Tensor = out + self._value_terms(masses, grid)
        return joined

    def add_to_scores(self, scores: Tensor, q: Tensor, grid: Grid) -> Tensor:
        """The scores (B, heads, N, N) with the terms of the keys; q, scaled as it was for them, is (B, heads, N, head_dim)."""
        if "key" not in self.value.sides:
            return scores
        return scores + self._key_terms(q, grid) @ one_hot_places(grid, q).T

    def add_to_values(self, out: Tensor, weights: Tensor, grid: Grid) -> Tensor:
        """What was attended (B, heads, N, head_dim) with the terms of the values; weights are (B, heads, N, N)."""
        if "value" not in self.value.sides:
            return out
        return out + self._value_terms(weights @ one_hot_places(grid, weights), grid)

    def _table(self, side: str, table: str) -> Tensor:
        parameter: Tensor = getattr(self, f"{side}_{table}")
        return parameter

    def _by_place(self, side: str, grid: Grid) -> tuple[Tensor, Tensor]:
        """The tables by absolute place: (rows, rows, head_dim) and (columns, columns, head_dim), of query and key."""
        rows, columns = self._table(side, "rows"), self._table(side, "columns")
        reach = self.value.reach
        return rows[offsets(grid.rows, reach, rows.device)], columns[offsets(grid.columns, reach, columns.device)]

    def _key_terms(self, q: Tensor, grid: Grid) -> Tensor:
        """q's products with the tables, (B, heads, N, rows + columns + 1)."""
        rows, columns = self._by_place("key", grid)
        extra = self._table("key", "extra")
        patches = on_map(q, grid)  # (B, heads, rows, columns, head_dim)
        by_row = torch.einsum("bhrcd,rsd->bhrcs", patches, rows.to(q.dtype))
        by_column = torch.einsum("bhrcd,csd->bhrcs", patches, columns.to(q.dtype))
        terms = torch.cat([by_row, by_column], -1).flatten(2, 3)
        pairs = q @ extra.to(q.dtype).T  # (B, heads, N, 2): with the entry of pairs that hold an extra token
        if grid.extra:
            first = pairs[:, :, : grid.extra]
            row, column = torch.split(first, 1, -1)
            head = torch.cat([row.expand(*row.shape[:-1], grid.rows), column.expand(*row.shape[:-1], grid.columns)], -1)
            terms = torch.cat([head, terms], 2)
        return torch.cat([terms, pairs.sum(-1, keepdim=True)], -1)

    def _value_terms(self, masses: Tensor, grid: Grid) -> Tensor:
        """The attended masses' products with the tables, (B, heads, N, head_dim)."""
        rows, columns = self._by_place("value", grid)
        extra = self._table("value", "extra").to(masses.dtype)
        by_row, by_column, on_extra = torch.split(masses, [grid.rows, grid.columns, 1], -1)
        out = torch.einsum("bhrcs,rsd->bhrcd", on_map(by_row, grid), rows.to(masses.dtype))
        out = out + torch.einsum("bhrcs,csd->bhrcd", on_map(by_column, grid), columns.to(masses.dtype))
        out = out.flatten(2, 3)
        if grid.extra:
            total = by_row[:, :, : grid.extra].sum(-1, keepdim=True)
            out = torch.cat([total * extra.sum(0), out], 2)
        joined: Tensor = out + on_extra * extra.sum(0)
        return joined


def on_map(x: Tensor, grid: Grid) -> Tensor:
    """The patches' part of (B, heads, N, n) as (B, heads, rows, columns, n)."""
    patches = x[:, :, grid.extra :]
    return patches.reshape(*patches.shape[:2], grid.rows, grid.columns, patches.shape[-1])


def offsets(length: int, reach: int, device: torch.device) -> Tensor:
    """Which table entry a query at one place uses for a key at another: key minus query, clamped; (length, length)."""
    place = torch.arange(length, device=device)
    return (place[None, :] - place[:, None]).clamp(-reach, reach) + reach


def one_hot_places(grid: Grid, like: Tensor) -> Tensor:
    """For each token its row, its column and whether it is an extra token, one-hot: (N, rows + columns + 1)."""
    if torch.compiler.is_compiling():
        return _places(grid, like.device, like.dtype)
    return _kept_places(grid, like.device, like.dtype)


def _places(grid: Grid, device: torch.device, dtype: torch.dtype) -> Tensor:
    rows = torch.eye(grid.rows, device=device, dtype=dtype).repeat_interleave(grid.columns, 0)
    columns = torch.eye(grid.columns, device=device, dtype=dtype).repeat(grid.rows, 1)
    patches = functional.pad(torch.cat([rows, columns], 1), (0, 1))
    extra = functional.pad(patches.new_ones(grid.extra, 1), (grid.rows + grid.columns, 0))
    return torch.cat([extra, patches])


@lru_cache(maxsize=32)
def _kept_places(grid: Grid, device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False), torch.no_grad():  # a tensor of inference mode could not be used in training later
        return _places(grid, device, dtype)
