"""Mixing of heads and of neighbours, against their definitions."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from vitesse.arch import Attention, Grid, HeadMix, ImageRelativePosition, LocalMix, RelativePosition
from vitesse.ops.attention import SelfAttention
from vitesse.ops.mixing import HeadMap, LocalMixing

GRID = Grid(2, 3, 1)
X = torch.randn(2, GRID.tokens, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def attention(mix: HeadMix | None, position: RelativePosition | ImageRelativePosition | None = None) -> SelfAttention:
    torch.manual_seed(0)
    made = SelfAttention(Attention(heads=3, head_dim=4, mix=mix, position=position), 12).double()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    return made


def by_definition(module: SelfAttention, x: Tensor) -> Tensor:
    """Head by head, sum by sum."""
    q, k, v = module.qkv(x).unflatten(-1, (3, 3, 4)).permute(2, 0, 3, 1, 4)
    scores = [q[:, h] @ k[:, h].transpose(-1, -2) / 2 for h in range(3)]
    for place in ("before", "after"):
        one = getattr(module.mix, place)
        if isinstance(one, HeadMap):
            bias = torch.zeros(3) if one.bias is None else one.bias
            scores = [sum(one.weight[h, n] * scores[n] for n in range(3)) + bias[h] for h in range(3)]
        scores = scores if place == "after" else [one.softmax(-1) for one in scores]
    return module.proj(torch.cat([scores[h] @ v[:, h] for h in range(3)], -1))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("places", [(True, True), (True, False), (False, True)])
def test_heads_are_mixed_as_defined(places: tuple[bool, bool], bias: bool) -> None:
    module = attention(HeadMix(before=places[0], after=places[1], bias=bias))
    torch.testing.assert_close(module(X, GRID), by_definition(module, X), rtol=1e-12, atol=1e-12)


IMAGE = partial(ImageRelativePosition, beta=2.0, gamma=8.0)


@pytest.mark.parametrize(
    "position",
    [
        *(RelativePosition(reach=1, on=on) for on in ("k", "v", "kv")),  # type: ignore[arg-type]
        *(IMAGE(on="qkv", method=method) for method in ("product", "cross", "euclidean")),  # type: ignore[arg-type]
        IMAGE(on="qk", mode="bias", shared=False),
    ],
    ids=str,
)
def test_identity_mixes_nothing_beside_positions(position: RelativePosition | ImageRelativePosition) -> None:
    """The explicit attention with relative position is the fused one."""
    plain, mixed = attention(None, position), attention(HeadMix(bias=True), position)
    fresh = SelfAttention(mixed.value, 12).double().state_dict()
    mixed.load_state_dict({name: w for name, w in fresh.items() if "mix." in name} | plain.state_dict())
    torch.testing.assert_close(mixed(X, GRID), plain(X, GRID), rtol=1e-10, atol=1e-12)


def test_mixing_under_autocast() -> None:
    module = attention(HeadMix(bias=True), RelativePosition(reach=1)).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = module(X.float(), GRID)
    torch.testing.assert_close(out.float(), module(X.float(), GRID), rtol=0, atol=0.05)


def test_neighbours_are_mixed_as_defined() -> None:
    module = LocalMixing(LocalMix(kernel=3), 12).double()
    assert not module(X, GRID).any()  # as it begins
    nn.init.normal_(module.conv.weight)
    nn.init.normal_(module.conv.bias)
    out = module(X, GRID)
    assert not out[:, 0].any()  # the extra token
    patches = X[:, 1:].unflatten(1, (2, 3))
    for row in range(2):
        for column in range(3):
            total = module.conv.bias.clone()
            for r in range(2):
                for c in range(3):
                    if abs(r - row) <= 1 and abs(c - column) <= 1:
                        weight = module.conv.weight[:, 0, r - row + 1, c - column + 1]
                        total = total + weight * patches[:, r, c]
            torch.testing.assert_close(out[:, 1 + row * 3 + column], total, rtol=1e-10, atol=1e-12)
