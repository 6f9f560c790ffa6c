"""Relative terms that are a sum of a row table and a column table, at the price of a few more columns of q, k and v.

The term q_i . (R[row_i, row_j] + C[column_i, column_j]) is a plain dot product once q_i is extended by its products with
the tables, arranged by absolute row and column, and k_j by one-hot vectors of its own row and column. A term of the keys
extends k by products and q by one-hots. On the value side v is extended by the same one-hots; what is attended of them
are the attention's masses for each row and column, which then meet the tables. So no (N, N, head_dim) tensor exists, and
fused attention stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from vitesse.arch import Grid
from vitesse.ops.kept import kept

FEW = 32  # up to so many tokens a vector for each pair is faster than more columns, in training too
ALIGNED = 16  # fused attention is faster where its width is a multiple of this; columns of zeros change nothing


@dataclass(frozen=True, slots=True)
class ByPlace:
    """The tables of one side by absolute place, with one leading dimension: 1 where heads share them, else heads.

    rows: (H, rows, rows, head_dim) of one token's row and the other's; columns likewise; extra: (H, head_dim), the vector
    of all pairs that hold an extra token.
    """

    rows: Tensor
    columns: Tensor
    extra: Tensor


def by_place(table: Tensor, index: Tensor) -> Tensor:
    """A table (H, entries, head_dim) by absolute place, (H, length, length, head_dim), with the index (length, length)."""
    placed: Tensor = table.index_select(1, index.flatten()).unflatten(1, index.shape)
    return placed


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    grid: Grid,
    *,
    key: ByPlace | None = None,
    query: ByPlace | None = None,
    value: ByPlace | None = None,
    mask: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Softmax attention with the relative terms; q, k, v and the result are (B, heads, N, head_dim).

    The tables `key` meet q, `query` meet k, `value` meet the probabilities. `mask` is added to the
    scores, broadcast to (B, heads, N, N).
    """
    if grid.tokens <= FEW:
        return _attend_few(q, k, v, grid, {"key": key, "query": query, "value": value}, mask, dropout)
    scale = q.shape[-1] ** -0.5
    width, known = v.shape[-1], grid.rows + grid.columns + 1
    places = one_hot_places(grid, v)  # (N, known)
    places = places.expand(*k.shape[:2], -1, -1)
    left, right = [q], [k]
    if key is not None:
        left, right = [*left, relative_terms(q, key, grid)], [*right, places]
    if query is not None:
        left, right = [*left, places], [*right, relative_terms(k, query, grid)]
    ends = [v, places] if value is not None else [v]
    # Fused attention wants q, k and v of one width.
    wide = max(sum(part.shape[-1] for part in parts) for parts in (left, ends))
    wide += -wide % ALIGNED
    q, k, v = (_joined(parts, wide) for parts in (left, right, ends))
    extended = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, scale=scale)
    out = extended[..., :width]
    return out if value is None else out + table_values(extended[..., width : width + known], value, grid)


def _attend_few(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    grid: Grid,
    tables: Mapping[str, ByPlace | None],
    mask: Tensor | None,
    dropout: float,
) -> Tensor:
    """As `attend`, by the definition."""
    vectors = {side: _pairs(table, grid, q.dtype) for side, table in tables.items() if table is not None}
    scores = q @ k.transpose(-1, -2)  # (B, heads, N, N)
    if "key" in vectors:
        scores = scores + torch.einsum("bhid,hijd->bhij", q, vectors["key"])
    if "query" in vectors:
        scores = scores + torch.einsum("bhjd,hjid->bhij", k, vectors["query"])
    scores = scores * q.shape[-1] ** -0.5
    scores = scores if mask is None else scores + mask
    weights = functional.dropout(scores.softmax(-1).to(v.dtype), dropout)
    out = weights @ v
    if "value" in vectors:
        out = out + torch.einsum("bhij,hijd->bhid", weights, vectors["value"])
    return out


def _pairs(tables: ByPlace, grid: Grid, dtype: torch.dtype) -> Tensor:
    """The vector of each pair of tokens, (H, N, N, head_dim)."""
    both = tables.rows[:, :, None, :, None] + tables.columns[:, None, :, None, :]
    pairs = both.flatten(1, 2).flatten(2, 3)  # (H, patches, patches, head_dim)
    if grid.extra:
        extra = tables.extra[:, None, None]
        pairs = torch.cat([extra.expand(-1, grid.extra, grid.patches, -1), pairs], 1)
        pairs = torch.cat([extra.expand(-1, grid.tokens, grid.extra, -1), pairs], 2)
    return pairs.to(dtype)


def _joined(parts: list[Tensor], width: int) -> Tensor:
    """The columns of all parts, and zeros up to `width`."""
    spare = width - sum(part.shape[-1] for part in parts)
    return (
        torch.cat([*parts, parts[0].new_zeros(1).expand(*parts[0].shape[:-1], spare)], -1)
        if spare or parts[1:]
        else parts[0]
    )


def relative_terms(x: Tensor, tables: ByPlace, grid: Grid) -> Tensor:
    """Products with the tables for every row and column that the other token may be in: (B, heads, N, rows + columns + 1).

    The last column is for other tokens that are extra ones.
    """
    rows, columns, extra = tables.rows.to(x.dtype), tables.columns.to(x.dtype), tables.extra.to(x.dtype)
    patches = on_map(x, grid)  # (B, heads, rows, columns, head_dim)
    by_row = torch.einsum("bhrcd,hrsd->bhrcs", patches, rows)
    by_column = torch.einsum("bhrcd,hcsd->bhrcs", patches, columns)
    terms = torch.cat([by_row, by_column], -1).flatten(2, 3)
    pair = x @ (
        extra[0][:, None] if len(extra) == 1 else extra[..., None]
    )  # (B, heads, N, 1): with the vector of pairs that hold an extra token
    if grid.extra:
        # An extra token meets it whatever row the other one is in, and nothing more for its column.
        head = pair[:, :, : grid.extra].expand(-1, -1, -1, grid.rows)
        terms = torch.cat([functional.pad(head, (0, grid.columns)), terms], 2)
    return torch.cat([terms, pair], -1)


def table_values(masses: Tensor, tables: ByPlace, grid: Grid) -> Tensor:
    """The masses of each row, each column and the extra tokens, (B, heads, N, rows + columns + 1), times the tables."""
    dtype = masses.dtype
    rows, columns, extra = tables.rows.to(dtype), tables.columns.to(dtype), tables.extra.to(dtype)
    by_row, by_column, on_extra = torch.split(masses, [grid.rows, grid.columns, 1], -1)
    out = torch.einsum("bhrcs,hrsd->bhrcd", on_map(by_row, grid), rows)
    out = out + torch.einsum("bhrcs,hcsd->bhrcd", on_map(by_column, grid), columns)
    out = out.flatten(2, 3)
    if grid.extra:
        total = by_row[:, :, : grid.extra].sum(-1, keepdim=True)
        out = torch.cat([total * extra[:, None], out], 2)
    joined: Tensor = out + on_extra * extra[:, None]
    return joined


def on_map(x: Tensor, grid: Grid) -> Tensor:
    """The patches' part of (B, heads, N, n) as (B, heads, rows, columns, n)."""
    patches = x[:, :, grid.extra :]
    return patches.reshape(*patches.shape[:2], grid.rows, grid.columns, patches.shape[-1])


def one_hot_places(grid: Grid, like: Tensor) -> Tensor:
    """For each token its row, its column and whether it is an extra token, one-hot: (N, rows + columns + 1)."""
    return _places(grid, like.device, like.dtype)


@kept
def _places(grid: Grid, device: torch.device, dtype: torch.dtype) -> Tensor:
    rows = torch.eye(grid.rows, device=device, dtype=dtype).repeat_interleave(grid.columns, 0)
    columns = torch.eye(grid.columns, device=device, dtype=dtype).repeat(grid.rows, 1)
    patches = functional.pad(torch.cat([rows, columns], 1), (0, 1))
    extra = functional.pad(patches.new_ones(grid.extra, 1), (grid.rows + grid.columns, 0))
    return torch.cat([extra, patches])
