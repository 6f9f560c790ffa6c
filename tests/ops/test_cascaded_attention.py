from __future__ import annotations

import pytest
import torch

from vitesse.arch import Backbone, Block, CascadedAttention, ConvMLP, ConvStem, Grid, Head, LocalConv, Stage
from vitesse.nets import build
from vitesse.ops.cascaded_attention import CascadedSelfAttention


def filled(window: int) -> CascadedSelfAttention:
    torch.manual_seed(0)
    module = CascadedSelfAttention(CascadedAttention(heads=2, kernels=(3, 5), key_dim=2, window=window), 6).eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return module


def test_a_head_sees_what_those_before_it_made_and_no_other() -> None:
    """Through the joined heads: a change of the last part moves the last head alone, of the first one both."""
    module, grid, seen = filled(4), Grid(3, 4), []
    module.proj.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0].flatten(2)))
    x = torch.randn(1, 12, 6)
    for part in (None, slice(3, 6), slice(0, 3)):
        changed = x.clone()
        if part is not None:
            changed[..., part] += 1
        module(changed, grid)
    plain, last, first = seen
    assert torch.equal(plain[:, :3], last[:, :3]) and not torch.equal(plain[:, 3:], last[:, 3:])
    assert not torch.allclose(plain[:, :3], first[:, :3]) and not torch.allclose(plain[:, 3:], first[:, 3:])


@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (2, 1), (1, 2), (1, 1)])
def test_a_map_within_a_window_is_not_filled_up(rows: int, columns: int) -> None:
    """It computes what a smaller window with the small offsets of the table computes."""
    module, grid, x = filled(3), Grid(rows, columns), torch.randn(2, rows * columns, 6)
    side = max(rows, columns)
    small, table = filled(side), module.position.offset_bias.detach().view(2, 3, 3)
    small.load_state_dict(module.state_dict() | {"position.offset_bias": table[:, :side, :side].flatten(1)})
    torch.testing.assert_close(module(x, grid), small(x, grid))


def test_windows_do_not_see_each_other() -> None:
    module, x = filled(2), torch.randn(1, 8, 6)
    changed = x.clone()
    changed[:, 2] += 1  # row 0, column 2 of 2 x 4: in the second window
    moved = (module(x, Grid(2, 4)) != module(changed, Grid(2, 4))).any(-1)[0].view(2, 4)
    assert not moved[:, :2].any() and moved[:, 2:].all()


def test_a_fresh_sandwich_is_the_identity() -> None:
    attention = CascadedAttention(heads=2, kernels=(3, 5), window=2)
    block = Block(LocalConv(residual=True), ConvMLP(), attention)
    head = Head(pool="mean", norm=None, classes=2)
    network = build(Backbone(stem=ConvStem(image=(16, 16)), stages=(Stage(dim=8, depth=1, block=block),), head=head))
    x = torch.randn(2, 16, 8)
    assert torch.equal(network._run(network.stages[0].blocks[0], x, Grid(4, 4)), x)  # type: ignore[union-attr, index]
