"""Image relative position encoding: the module behind `arch.ImageRelativePosition` (iRPE).

Each token meets one vector a bucket, never one a pair of tokens: the products with the buckets, (N, buckets), are spread
over the pairs by an index, and the probabilities of the pairs are gathered into buckets before they meet the vectors.
The method "cross" is a sum of a row and a column table and runs as extra columns of fused attention instead.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vitesse.arch import Grid, ImageRelativePosition
from vitesse.ops.buckets import Method, bucket_matrix, piecewise
from vitesse.ops.in_place import Bucketed, attend_in_place
from vitesse.ops.kept import kept
from vitesse.ops.separable import ByPlace, attend, by_place


class ImagePositionTables(nn.Module):
    """The tables of one attention layer, zero at the start: attention begins as if they were not there."""

    def __init__(self, value: ImageRelativePosition, heads: int, head_dim: int) -> None:
        super().__init__()
        self.value = value
        sizes = value.sizes() | {"heads": heads, "head_dim": head_dim}
        for name, axes in value.axes().items():
            self.register_parameter(name, nn.Parameter(torch.zeros([sizes[axis.strip()] for axis in axes.split(",")])))

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, grid: Grid, *, mask: Tensor | None = None, dropout: float = 0.0
    ) -> Tensor:
        """Softmax attention with the relative terms; q, k, v and the result are (B, heads, N, head_dim).

        `mask` is added to the scores, broadcast to (B, heads, N, N); `dropout` is of the probabilities. ValueError for a
        map with extra tokens where the tables have no entry for them.
        """
        self._require_entries(grid)
        value = self.value
        if value.method == "cross" and value.mode == "contextual":
            sides: dict[str, Any] = {side: self._by_place(side, grid) for side in value.sides}
            return attend(q, k, v, grid, **sides, mask=mask, dropout=dropout)
        if value.mode == "contextual" and not dropout and self._may_write(q, k, v, mask):
            sides = {side: self._bucketed(side, grid) for side in value.sides}
            return attend_in_place(q, k, v, **sides, mask=mask)
        scale = q.shape[-1] ** -0.5
        scaled, terms = q * scale, [] if mask is None else [mask]
        if "key" in value.sides:
            terms.append(self.key_terms(scaled, grid))
        if "query" in value.sides:
            terms.append(self.query_terms(k * scale, grid))
        added = _total(terms).to(q.dtype) if terms else None
        # On a CPU fused attention has no gradient for what is added, and would fall back to something slower than this.
        learned = added is not None and added.requires_grad and q.device.type == "cpu"
        if "value" not in value.sides and not learned:
            return functional.scaled_dot_product_attention(q, k, v, attn_mask=added, dropout_p=dropout)
        scores = _scores(scaled, k, added)  # (B, heads, N, N)
        probabilities = functional.dropout(scores.softmax(-1, dtype=_wide(scores.dtype)), dropout)
        out: Tensor = probabilities.to(v.dtype) @ v
        return out + self.value_terms(probabilities, grid).to(v.dtype) if "value" in value.sides else out

    def key_terms(self, x: Tensor, grid: Grid) -> Tensor:
        """What the relative positions of keys add to the scores: x_i . table[bucket(i, j)], (B, heads, N, N).

        `x` are the queries, scaled as the scores are to be, (B, heads, N, head_dim). A bias does not depend on them and is
        (1, 1 or heads, N, N).
        """
        return self._score_terms("key", x, grid)

    def query_terms(self, x: Tensor, grid: Grid) -> Tensor:
        """What the relative positions of queries add: x_j . table[bucket(j, i)] of the keys x, as `key_terms`."""
        return self._score_terms("query", x, grid)

    def value_terms(self, probabilities: Tensor, grid: Grid) -> Tensor:
        """What the relative positions of values add to what is attended: sum over j of p_ij table[bucket(i, j)].

        (B, heads, N, N) to (B, heads, N, head_dim).
        """
        self._require_entries(grid)
        wide = probabilities.to(_wide(probabilities.dtype))  # up to N of them are added up
        attended = []
        for method, entries in self._parts("value"):  # (H, n, head_dim)
            index = _index(self.value, method, grid, wide.device).expand_as(wide)
            masses = wide.new_zeros(*wide.shape[:3], entries.shape[1]).scatter_add(-1, index, wide)
            attended.append(masses.to(entries.dtype) @ entries)
        return _total(attended)

    def _score_terms(self, side: str, x: Tensor, grid: Grid) -> Tensor:
        self._require_entries(grid)
        terms = []
        for method, entries in self._parts(side):
            products, step = entries[None], 0  # (1, H, n)
            if self.value.mode == "contextual":
                vectors = entries[0] if self.value.shared else entries
                products = (x @ vectors.transpose(-1, -2).to(x.dtype)).flatten(2)  # (B, heads, N * n)
                step = entries.shape[1]
            index = _spread_index(self.value, method, grid, x.device, step, side == "query")
            spread: Tensor = _Spread.apply(products, index)
            terms.append(spread.unflatten(-1, (grid.tokens, grid.tokens)))
        return _total(terms)

    def _parts(self, side: str) -> list[tuple[Method, Tensor]]:
        """For each table of a side how pairs find their entry, and the entries that they can find, (H, n, head_dim)."""
        value = self.value
        if value.method == "cross":
            return [
                ("cross_rows", self._entries(side, "rows", 0)),
                ("cross_columns", self._entries(side, "columns", 1)),
            ]
        return [(value.method, self._entries(side, "table", 0))]

    def _entries(self, side: str, table: str, which: int) -> Tensor:
        """The entries of one table in the order of the buckets, that of extra tokens last; H is 1 where heads share them."""
        names = [f"{side}_{table}", *([f"{side}_extra"] if self.value.extra else [])]
        found = [getattr(self, name)[None] if self.value.shared else getattr(self, name) for name in names]
        if self.value.method == "product":
            found[0] = found[0].flatten(1, 2)
        elif self.value.method != "cross":
            found[0] = found[0][:, self.value.reach :]  # no distance is negative
        return torch.cat([found[0], found[1][:, which : which + 1]], 1) if self.value.extra else found[0]

    def _bucketed(self, side: str, grid: Grid) -> Bucketed:
        """The entries of a side that is no "cross", and where each pair finds its product, or for values its bucket."""
        ((method, entries),) = self._parts(side)
        if side == "value":
            return entries, _index(self.value, method, grid, entries.device)
        step = entries.shape[1]
        return entries, _spread_index(self.value, method, grid, entries.device, step, side == "query")

    def _may_write(self, *inputs: Tensor | None) -> bool:
        """Whether nothing needs gradients and all is of one wide type on a CPU, and no graph is made."""
        tensors = [x for x in (*inputs, *self.parameters()) if x is not None]
        return (
            not torch.compiler.is_compiling()
            and not (torch.is_grad_enabled() and any(x.requires_grad for x in tensors))
            and all(x.device.type == "cpu" and x.dtype == tensors[0].dtype == _wide(x.dtype) for x in tensors)
        )

    def _by_place(self, side: str, grid: Grid) -> ByPlace:
        """The tables of "cross" by absolute place: a row or column of the token that meets them, then the other's."""
        (_, rows), (_, columns) = self._parts(side)
        length = 2 * self.value.reach + 1
        return ByPlace(
            by_place(rows, _line(self.value, grid.rows, rows.device)),
            by_place(columns, _line(self.value, grid.columns, rows.device)),
            (rows[:, length:] + columns[:, length:]).sum(1),
        )

    def _require_entries(self, grid: Grid) -> None:
        if grid.extra and not self.value.extra:
            raise ValueError(
                f"The tables have no entry for extra tokens (extra=False), but the map has {grid.extra} beside its "
                f"{grid.rows} x {grid.columns} patches. Take ImageRelativePosition(extra=True), or no extra tokens."
            )


def _total(terms: list[Tensor]) -> Tensor:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _scores(q: Tensor, k: Tensor, added: Tensor | None) -> Tensor:
    """q k^T and what is added to it, in one step where that has the shape of the scores."""
    if added is not None and added.shape[:2] == q.shape[:2]:
        flat = torch.baddbmm(added.flatten(0, 1), q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2))
        scores: Tensor = flat.unflatten(0, q.shape[:2])
        return scores
    scores = q @ k.transpose(-1, -2)
    return scores if added is None else scores + added


class _Spread(torch.autograd.Function):
    """Entries (B, heads, n) spread over places by an index (M,); the gradients of one entry are added in float32 or wider."""

    @staticmethod
    def forward(ctx: Any, entries: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.shape = entries.shape
        return entries.gather(-1, index.expand(*entries.shape[:2], -1))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        wide = gradients[0].to(_wide(gradients[0].dtype))
        total = wide.new_zeros(ctx.shape).scatter_add(-1, index.expand(*ctx.shape[:2], -1), wide)
        return total.to(gradients[0].dtype), None


def _wide(dtype: torch.dtype) -> torch.dtype:
    """A type that can add up many numbers of `dtype`."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


@kept
def _index(value: ImageRelativePosition, method: Method, grid: Grid, device: torch.device) -> Tensor:
    """Which of the entries of `_entries` each (query, key) uses, (N, N)."""
    sizes = {"height": grid.rows, "width": grid.columns, "extra": grid.extra}
    found = bucket_matrix(method, alpha=value.alpha, beta=value.beta, gamma=value.gamma, **sizes, device=device)
    return found - value.reach if method in ("euclidean", "quantization") else found


@kept
def _spread_index(
    value: ImageRelativePosition, method: Method, grid: Grid, device: torch.device, step: int, mirrored: bool
) -> Tensor:
    """Where the entry of each (query, key) lies, (N * N): the products of each token begin `step` after another's.

    `mirrored`: the products are those of the keys, which look at the queries.
    """
    token = torch.arange(grid.tokens, device=device)
    places = _index(value, method, grid, device) + step * token[:, None]
    return (places.T if mirrored else places).flatten()


@kept
def _line(value: ImageRelativePosition, length: int, device: torch.device) -> Tensor:
    """The bucket of a query at one place of a row or column and a key at another: query minus key; (length, length)."""
    place = torch.arange(length, device=device)
    offset = place[:, None] - place[None, :]
    return piecewise(offset, alpha=value.alpha, beta=value.beta, gamma=value.gamma) + value.reach
