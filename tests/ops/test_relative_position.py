"""Relative position against its definition, written out naively here: one vector for each pair of tokens."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vitesse.arch import Grid, RelativePosition
from vitesse.ops import separable
from vitesse.ops.relative_position import RelativePositionTables
from vitesse.ops.separable import one_hot_places

GRIDS = [Grid(3, 3), Grid(3, 3, 1), Grid(2, 5, 0), Grid(5, 2, 3), Grid(1, 4, 1), Grid(6, 6, 2)]


@pytest.fixture(params=[0, separable.FEW], ids=["more columns", "a vector for each pair"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to do it, whatever the number of tokens."""
    monkeypatch.setattr(separable, "FEW", 10**6 if request.param else 0)


def pairs(tables: RelativePositionTables, side: str, grid: Grid) -> Tensor:
    """(N, N, head_dim): the vector of each (query, key), by the definition of the paper."""
    reach = tables.value.reach
    rows, columns, extra = (getattr(tables, f"{side}_{name}") for name in ("rows", "columns", "extra"))

    def entry(distance: int) -> int:
        return max(-reach, min(reach, distance)) + reach

    def vector(query: int, key: int) -> Tensor:
        if query < grid.extra or key < grid.extra:
            return torch.as_tensor(extra[0] + extra[1])
        (y, x), (v, u) = (divmod(token - grid.extra, grid.columns) for token in (query, key))
        return torch.as_tensor(rows[entry(v - y)] + columns[entry(u - x)])

    return torch.stack([torch.stack([vector(i, j) for j in range(grid.tokens)]) for i in range(grid.tokens)])


def naive(tables: RelativePositionTables, q: Tensor, k: Tensor, v: Tensor, grid: Grid) -> Tensor:
    scores = q @ k.transpose(-1, -2)  # (B, heads, N, N)
    if "key" in tables.value.sides:
        scores = scores + torch.einsum("bhid,ijd->bhij", q, pairs(tables, "key", grid))
    weights = (scores * q.shape[-1] ** -0.5).softmax(-1)
    out = weights @ v
    if "value" in tables.value.sides:
        out = out + torch.einsum("bhij,ijd->bhid", weights, pairs(tables, "value", grid))
    return torch.as_tensor(out)


def drawn(on: str, reach: int, grid: Grid) -> tuple[RelativePositionTables, tuple[Tensor, Tensor, Tensor]]:
    torch.manual_seed(0)
    tables = RelativePositionTables(RelativePosition(reach=reach, on=on), head_dim=4).double()  # type: ignore[arg-type]
    for parameter in tables.parameters():
        torch.nn.init.normal_(parameter)
    shape = (2, 3, grid.tokens, 4)
    q, k, v = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for _ in range(3))
    return tables, (q, k, v)


@pytest.mark.parametrize("reach", [1, 2, 14])
@pytest.mark.parametrize("on", ["k", "v", "kv"])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_is_its_definition_and_so_are_its_gradients(grid: Grid, on: str, reach: int) -> None:
    tables, inputs = drawn(on, reach, grid)
    weight = torch.randn(2, 3, grid.tokens, 4, dtype=torch.float64)
    ours, theirs = tables.attend(*inputs, grid), naive(tables, *inputs, grid)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)

    wanted = [*inputs, *tables.parameters()]
    # Entries that no pair uses get zeros.
    found = torch.autograd.grad((ours * weight).sum(), wanted, materialize_grads=True)
    truth = torch.autograd.grad((theirs * weight).sum(), wanted, materialize_grads=True)
    for one, other in zip(found, truth, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def test_zero_tables_change_nothing() -> None:
    grid = Grid(3, 4, 1)
    tables, (q, k, v) = drawn("kv", 2, grid)
    for parameter in tables.parameters():
        torch.nn.init.zeros_(parameter)
    plain = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(tables.attend(q, k, v, grid), plain, rtol=0, atol=1e-12)


def test_a_step_down_differs_from_a_step_up_and_from_a_step_aside() -> None:
    """A transposed table or swapped axes would pass every symmetric check."""
    grid = Grid(2, 2)
    tables, (q, k, v) = drawn("v", 1, grid)
    for parameter in tables.parameters():
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        tables.value_rows[2] = 1.0  # type: ignore[operator]  # the key one row below the query
        out = tables.attend(torch.zeros_like(q), k, torch.zeros_like(v), grid)  # every key weighs 1/4
    assert out[0, 0, :, 0].tolist() == [0.5, 0.5, 0.0, 0.0]


def test_one_hot_places() -> None:
    places = one_hot_places(Grid(2, 3, 1), torch.zeros(1))
    rows, columns, extra = places.split([2, 3, 1], -1)
    assert extra[:, 0].tolist() == [1, 0, 0, 0, 0, 0, 0]
    assert rows[1:].argmax(-1).tolist() == [0, 0, 0, 1, 1, 1] and columns[1:].argmax(-1).tolist() == [0, 1, 2] * 2
    assert places.sum(-1).tolist() == [1, 2, 2, 2, 2, 2, 2]


def test_what_is_kept_from_inference_can_be_trained_on() -> None:
    """A tensor made in inference mode cannot be saved for a backward pass: the kept table must not be one."""
    grid = Grid(3, 7, 1)  # a map that no other test has
    tables, inputs = drawn("kv", 2, grid)
    with torch.inference_mode():
        first = tables.attend(*inputs, grid)
    again = tables.attend(*inputs, grid)
    again.sum().backward()
    assert torch.equal(first, again)
    assert all(parameter.grad is not None for parameter in tables.parameters())
    assert one_hot_places(grid, inputs[0]) is one_hot_places(grid, inputs[0])  # kept, and never written to
    assert not one_hot_places(grid, inputs[0]).requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_types_stay_near(dtype: torch.dtype) -> None:
    grid = Grid(4, 4, 1)
    tables, inputs = drawn("kv", 3, grid)
    truth = tables.attend(*inputs, grid)
    out = tables.attend(inputs[0].to(dtype), inputs[1].to(dtype), inputs[2].to(dtype), grid)
    assert out.dtype == dtype
    tolerance = 1e-4 if dtype == torch.float32 else 0.15
    torch.testing.assert_close(out.double(), truth, rtol=0, atol=tolerance)
