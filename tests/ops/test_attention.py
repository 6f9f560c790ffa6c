"""Self-attention against timm's and torch's, with the same weights."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from timm.layers.attention import Attention as TimmAttention
from torch import nn

from vitesse.arch import Attention, Grid, LayerNorm, RelativePosition
from vitesse.ops.attention import SelfAttention

GRID = Grid(2, 3, 1)


@pytest.mark.parametrize("qk_norm", [False, True])
@pytest.mark.parametrize("bias", [True, False])
def test_is_timms(bias: bool, qk_norm: bool) -> None:
    torch.manual_seed(0)
    ours = SelfAttention(Attention(heads=3, head_dim=8, bias=bias, qk_norm=qk_norm, norm=LayerNorm(eps=1e-6)), 24)
    norm = partial(nn.LayerNorm, eps=1e-6)
    theirs = TimmAttention(24, num_heads=3, qkv_bias=bias, qk_norm=qk_norm, norm_layer=norm)  # type: ignore[arg-type]
    for parameter in theirs.parameters():
        nn.init.normal_(parameter)
    ours.load_state_dict(theirs.state_dict())  # the names are timm's too
    x = torch.randn(2, GRID.tokens, 24)
    torch.testing.assert_close(ours(x, GRID), theirs(x), rtol=1e-4, atol=1e-4)


def test_is_torchs() -> None:
    torch.manual_seed(0)
    ours = SelfAttention(Attention(heads=4, head_dim=8), 32).double()
    theirs = nn.MultiheadAttention(32, 4, batch_first=True).double()
    nn.init.normal_(theirs.in_proj_bias)
    with torch.no_grad():
        ours.qkv.weight.copy_(theirs.in_proj_weight)
        ours.qkv.bias.copy_(theirs.in_proj_bias)
        ours.proj.load_state_dict(theirs.out_proj.state_dict())
    x = torch.randn(2, GRID.tokens, 32, dtype=torch.float64)
    torch.testing.assert_close(ours(x, GRID), theirs(x, x, x, need_weights=False)[0], rtol=0, atol=1e-12)


def test_heads_need_not_fill_the_embedding() -> None:
    attention = SelfAttention(Attention(heads=3, head_dim=4), 10)
    assert attention.qkv.weight.shape == (36, 10) and attention.proj.weight.shape == (10, 12)
    assert attention(torch.zeros(2, GRID.tokens, 10), GRID).shape == (2, GRID.tokens, 10)


def test_tokens_have_no_order_without_positions() -> None:
    torch.manual_seed(0)
    x, order = torch.randn(1, GRID.tokens, 16, dtype=torch.float64), torch.randperm(GRID.tokens)
    plain = SelfAttention(Attention(heads=2, head_dim=8), 16).double()
    torch.testing.assert_close(plain(x[:, order], GRID), plain(x, GRID)[:, order], rtol=0, atol=1e-12)
    placed = SelfAttention(Attention(heads=2, head_dim=8, position=RelativePosition(reach=2)), 16).double()
    assert not torch.allclose(placed(x[:, order], GRID), placed(x, GRID)[:, order], rtol=0, atol=1e-6)


def test_qk_norm_under_autocast() -> None:
    attention = SelfAttention(Attention(heads=2, head_dim=8, qk_norm=True, position=RelativePosition(reach=2)), 16)
    x = torch.randn(2, GRID.tokens, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = attention(x, GRID)
    torch.testing.assert_close(out.float(), attention(x, GRID), rtol=0, atol=0.05)
