from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vitesse.arch import Grid, WindowAttention
from vitesse.ops.window_attention import WindowSelfAttention, attend, join, offset_places, split


@pytest.mark.parametrize(("grid", "window"), [(Grid(4, 6), 2), (Grid(5, 7), 3), (Grid(2, 3), 4), (Grid(1, 1), 2)])
def test_windows_come_apart_and_together(grid: Grid, window: int) -> None:
    x = torch.arange(2 * grid.tokens * 3.0).view(2, grid.tokens, 3)
    parts = split(x, grid, Grid(window, window))
    assert parts.shape == (2 * -(-grid.rows // window) * -(-grid.columns // window), window**2, 3)
    assert torch.equal(join(parts, grid, Grid(window, window)), x)
    # The first window holds the map's upper left corner, row by row, and zeros beyond the map.
    corner = x.view(2, grid.rows, grid.columns, 3)[0, :window, :window]
    assert torch.equal(parts[0].view(window, window, 3)[: corner.shape[0], : corner.shape[1]], corner)
    assert parts[0].view(window, window, 3)[corner.shape[0] :].abs().sum() == 0


def test_places_are_distances() -> None:
    places = offset_places(Grid(3, 3), 3, torch.device("cpu")).view(3, 3, 3, 3)
    assert places[0, 0, 2, 1] == 2 * 3 + 1 and places[2, 1, 0, 0] == 2 * 3 + 1
    assert places[1, 2, 1, 0] == 2 and (places.diagonal(dim1=0, dim2=2).diagonal(dim1=0, dim2=1) == 0).all()


def test_the_bias_is_that_of_the_distance() -> None:
    module, _ = filled(3)
    bias = module.position(Grid(3, 3)).view(2, 3, 3, 3, 3)
    assert torch.equal(bias[:, 0, 2, 2, 1], module.position.offset_bias[:, 2 * 3 + 1])
    places = offset_places(Grid(3, 3), 3, torch.device("cpu"))
    assert torch.equal(module.position(Grid(3, 3)), module.position.offset_bias[:, places])


@pytest.mark.parametrize("learned", [True, False])
def test_both_ways_attend_alike(learned: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, 3, 9, 4, generator=generator).unbind(0)
    bias = torch.randn(3, 9, 9, generator=generator).requires_grad_(learned)
    expected = (q @ k.transpose(-1, -2) / 2 + bias).softmax(-1) @ v
    torch.testing.assert_close(attend(q, k, v, bias), expected, rtol=1e-5, atol=1e-5)


def filled(window: int) -> tuple[WindowSelfAttention, Tensor]:
    torch.manual_seed(0)
    module = WindowSelfAttention(WindowAttention(heads=2, head_dim=4, window=window), 6)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module.eval(), torch.randn(2, 12, 6)


def test_a_window_is_the_map_where_they_are_equal() -> None:
    """Seen as one window of a larger map it computes the same."""
    module, _ = filled(3)
    x = torch.randn(2, 9, 6)
    beside = torch.cat([x.unflatten(1, (3, 3)), torch.randn(2, 3, 3, 6)], 2).flatten(1, 2)  # (2, 18, 6)
    found = module(beside, Grid(3, 6)).unflatten(1, (3, 6))[:, :, :3].flatten(1, 2)
    torch.testing.assert_close(found, module(x, Grid(3, 3)))


def test_what_is_filled_up_is_attended_to() -> None:
    """Zeros become the bias of the norm, and so have queries, keys and values of their own: as published."""
    module, x = filled(4)
    alone = module(x, Grid(3, 4))
    full = torch.cat([x, torch.zeros(2, 4, 6)], 1)
    torch.testing.assert_close(module(full, Grid(4, 4))[:, :12], alone)


def test_windows_see_nothing_of_each_other() -> None:
    module, x = filled(2)
    changed = x.clone()
    changed[:, -1] += 1  # the last token of a map of 3 x 4: the window at the lower right
    before, after = (module(one, Grid(3, 4)).unflatten(1, (3, 4)) for one in (x, changed))
    assert torch.equal(before[:, :2], after[:, :2]) and torch.equal(before[:, 2, :2], after[:, 2, :2])
    assert not torch.equal(before[:, 2, 2:], after[:, 2, 2:])


def test_places_of_inference_serve_training() -> None:
    module, x = filled(5)
    with torch.inference_mode():
        module(x, Grid(3, 4))
    module(x, Grid(3, 4)).sum().backward()
    assert module.position.offset_bias.grad is not None
