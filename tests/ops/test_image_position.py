"""Image relative position against its definition, written out naively here: one bucket for each pair of tokens."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from vitesse.arch import Grid, ImageRelativePosition
from vitesse.ops.image_position import ImagePositionTables

GRIDS = [Grid(3, 3), Grid(4, 4, 1), Grid(2, 9, 0), Grid(6, 2, 3), Grid(1, 4, 1), Grid(7, 7, 2)]
METHODS = ("product", "euclidean", "quantization", "cross")
HEADS, WIDTH = 3, 4


def step(distance: float, value: ImageRelativePosition) -> int:
    """The bucket of a distance (paper, equation 18), with the published rounding."""
    size = abs(distance)
    if size <= value.alpha:
        return round(distance)
    far = value.alpha + (value.beta - value.alpha) * math.log(size / value.alpha) / math.log(value.gamma / value.alpha)
    return int(math.copysign(min(round(far), value.beta), distance))


def vector(tables: ImagePositionTables, side: str, query: int, key: int, grid: Grid) -> Tensor:
    """The entry of one pair: (head_dim,) or (), with heads before it where they are not shared."""
    value, centre = tables.value, int(tables.value.beta)

    def part(name: str) -> Tensor:
        table: Tensor = getattr(tables, f"{side}_{name}")
        return table if value.shared else table.movedim(0, 2 if table.ndim > 2 and value.method == "product" else 1)

    if query < grid.extra or key < grid.extra:
        extra = getattr(tables, f"{side}_extra")  # (table, ...), heads before it
        return torch.as_tensor(extra.sum(0 if value.shared else 1))
    (y, x), (v, u) = (divmod(token - grid.extra, grid.columns) for token in (query, key))
    down, aside = step(y - v, value) + centre, step(x - u, value) + centre
    if value.method == "cross":
        return torch.as_tensor(part("rows")[down] + part("columns")[aside])
    if value.method == "product":
        return torch.as_tensor(part("table")[down, aside])
    squared = (y - v) ** 2 + (x - u) ** 2
    distance = round(math.sqrt(squared)) if value.method == "euclidean" else squared
    return torch.as_tensor(part("table")[step(distance, value) + centre])


def pairs(tables: ImagePositionTables, side: str, grid: Grid) -> Tensor:
    """The entries of all pairs, (heads or 1, N, N, head_dim) or (heads or 1, N, N)."""
    n = range(grid.tokens)
    found = torch.stack([torch.stack([vector(tables, side, i, j, grid) for j in n]) for i in n])  # (N, N, ...)
    return found[None] if tables.value.shared else found.movedim(2, 0)


def naive(tables: ImagePositionTables, q: Tensor, k: Tensor, v: Tensor, grid: Grid) -> Tensor:
    value, scale = tables.value, q.shape[-1] ** -0.5
    scores = scale * q @ k.transpose(-1, -2)
    for side, x in (("key", q), ("query", k)):
        if side in value.sides:
            entries = pairs(tables, side, grid)
            if value.mode == "bias":
                term = entries[None]
            else:
                term = scale * torch.einsum("bhid,hijd->bhij", x, entries)
            scores = scores + (term if side == "key" else term.transpose(-1, -2))
    weights = scores.softmax(-1)
    out = weights @ v
    if "value" in value.sides:
        out = out + torch.einsum("bhij,hijd->bhid", weights, pairs(tables, "value", grid))
    return out


def drawn(grid: Grid, **how: Any) -> tuple[ImagePositionTables, list[Tensor]]:
    torch.manual_seed(0)
    tables = ImagePositionTables(ImageRelativePosition(**how), HEADS, WIDTH).double()
    for parameter in tables.parameters():
        torch.nn.init.normal_(parameter)
    shape = (2, HEADS, grid.tokens, WIDTH)
    return tables, [torch.randn(shape, dtype=torch.float64, requires_grad=True) for _ in range(3)]


def same(tables: ImagePositionTables, inputs: list[Tensor], grid: Grid) -> None:
    """Outputs agree, learning or not, and so do the gradients."""
    weight = torch.randn(2, HEADS, grid.tokens, WIDTH, dtype=torch.float64)
    ours, theirs = tables.attend(*inputs, grid), naive(tables, *inputs, grid)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
    with torch.no_grad():
        torch.testing.assert_close(tables.attend(*inputs, grid), theirs, rtol=0, atol=1e-10)
    wanted = [*inputs, *tables.parameters()]
    found = torch.autograd.grad((ours * weight).sum(), wanted, materialize_grads=True)
    truth = torch.autograd.grad((theirs * weight).sum(), wanted, materialize_grads=True)
    for one, other in zip(found, truth, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_is_its_definition_and_so_are_its_gradients(grid: Grid, method: str, shared: bool) -> None:
    tables, inputs = drawn(grid, method=method, shared=shared, on="qkv")
    same(tables, inputs, grid)


@pytest.mark.parametrize("on", ["q", "k", "v", "qk", "qv", "kv"])
@pytest.mark.parametrize("method", METHODS)
def test_each_side_alone_and_in_twos(method: str, on: str) -> None:
    grid = Grid(3, 4, 1)
    same(*drawn(grid, method=method, on=on, alpha=0.7, beta=1.4, gamma=5.6), grid)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("on", ["q", "k", "qk"])
@pytest.mark.parametrize("method", METHODS)
def test_a_bias_is_added_unscaled(method: str, on: str, shared: bool) -> None:
    grid = Grid(3, 4, 2)
    same(*drawn(grid, method=method, on=on, mode="bias", shared=shared), grid)


@pytest.mark.parametrize("method", METHODS)
def test_without_an_entry_for_extra_tokens(method: str) -> None:
    tables, inputs = drawn(Grid(5, 3), method=method, on="qkv", extra=False)
    same(tables, inputs, Grid(5, 3))
    with pytest.raises(ValueError, match="no entry for extra tokens.* has 1 beside its 5 x 3 patches"):
        tables.attend(*inputs, Grid(5, 3, 1))
