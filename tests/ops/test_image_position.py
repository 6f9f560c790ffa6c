"""Image relative position against its definition, written out naively here: one bucket for each pair of tokens."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from vitesse.arch import Grid, ImageRelativePosition
from vitesse.ops import in_place
from vitesse.ops.image_position import ImagePositionTables

GRIDS = [Grid(3, 3), Grid(4, 4, 1), Grid(2, 9, 0), Grid(6, 2, 3), Grid(1, 4, 1), Grid(5, 5, 2)]
METHODS = ("product", "euclidean", "quantization", "cross")
HEADS, WIDTH = 3, 4
WAYS: list[dict[str, Any]] = [
    {"on": "k"},
    {"on": "qkv"},
    {"method": "cross", "on": "qkv"},
    {"mode": "bias", "on": "qk"},
]


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


@pytest.mark.parametrize("how", WAYS, ids=str)
def test_compiles_to_one_graph_with_the_same_numbers(how: dict[str, Any]) -> None:
    """In a graph nothing is written in place and no index is kept: the other way through `attend`."""
    torch.compiler.reset()
    grid = Grid(3, 4, 1)
    tables, inputs = drawn(grid, **how)
    compiled = torch.compile(tables.attend, fullgraph=True, backend="eager", dynamic=False)
    with torch.no_grad():
        torch.testing.assert_close(compiled(*inputs, grid), tables.attend(*inputs, grid), rtol=0, atol=1e-12)


@pytest.mark.parametrize("how", WAYS, ids=str)
@pytest.mark.parametrize("learn", [True, False])
def test_half_precision_stays_near(how: dict[str, Any], learn: bool) -> None:
    grid = Grid(4, 4, 1)
    tables, inputs = drawn(grid, **how)
    truth, half = tables.attend(*inputs, grid), [x.detach().to(torch.bfloat16).requires_grad_(learn) for x in inputs]
    with torch.set_grad_enabled(learn):
        out = tables.attend(*half, grid)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.double(), truth, rtol=0, atol=0.1)
    if learn:
        wanted = [*inputs, *tables.parameters()]
        found = torch.autograd.grad(out.double().square().sum(), [*half, *tables.parameters()])
        for one, other in zip(found, torch.autograd.grad(truth.square().sum(), wanted), strict=True):
            assert (one.double() - other).norm() < 0.05 * other.norm()


@pytest.mark.parametrize(
    "how", [{"on": "qkv"}, {"method": "cross", "on": "qkv"}, {"mode": "bias", "on": "qk"}], ids=str
)
def test_masked_tokens_are_not_seen(how: dict[str, Any]) -> None:
    """Padding at the end of each row: the rest is as if the map ended there."""
    grid, inner = Grid(3, 5), Grid(3, 4)
    seen = [token for token in range(15) if token % 5 < 4]
    tables, inputs = drawn(grid, **how)
    mask = torch.zeros(2, 1, 1, 15, dtype=torch.float64)
    mask[..., [token for token in range(15) if token not in seen]] = -torch.inf
    small = tables.attend(*(x[:, :, seen] for x in inputs), inner)
    torch.testing.assert_close(tables.attend(*inputs, grid, mask=mask)[:, :, seen], small, rtol=0, atol=1e-10)
    with torch.no_grad():
        torch.testing.assert_close(tables.attend(*inputs, grid, mask=mask)[:, :, seen], small, rtol=0, atol=1e-10)


@pytest.mark.parametrize("how", [{"on": "k"}, {"on": "qkv"}, {"method": "cross", "on": "qkv"}], ids=str)
def test_dropout_falls_on_the_probabilities(how: dict[str, Any]) -> None:
    grid = Grid(3, 3)
    tables, (q, k, v) = drawn(grid, **how)
    torch.manual_seed(0)
    out = torch.stack([tables.attend(q, k, v, grid, dropout=0.5) for _ in range(400)]).mean(0)
    assert not torch.equal(tables.attend(q, k, v, grid, dropout=0.5), tables.attend(q, k, v, grid, dropout=0.5))
    assert (out - tables.attend(q, k, v, grid)).abs().mean() < 0.15


def test_many_images_are_done_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid(3, 4, 1)
    tables, _ = drawn(grid, on="qkv")
    inputs = [torch.randn(5, HEADS, grid.tokens, WIDTH, dtype=torch.float64) for _ in range(3)]
    with torch.no_grad():
        whole = tables.attend(*inputs, grid)
        monkeypatch.setattr(in_place, "CACHED", 2 * HEADS * grid.tokens**2)
        torch.testing.assert_close(tables.attend(*inputs, grid), whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(naive(tables, *inputs, grid), whole, rtol=0, atol=1e-10)
