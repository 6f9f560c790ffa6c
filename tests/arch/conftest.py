"""Two small spaces: one with every kind of decision, and one whose options hold decisions of their own."""

from __future__ import annotations

import pytest

from vitesse.arch import MLP, Attention, Backbone, Block, Choice, Head, PatchEmbed, RelativePosition, Stage


@pytest.fixture(scope="session")
def space() -> Backbone:
    """(2 widths) x (depth 1 or 2 of blocks with 2 x 2 decisions) x (2 heads) = 2 * (4 + 16) * 2 = 80 networks."""
    block = Block(Attention(heads=Choice(1, 2), head_dim=8), MLP(ratio=Choice(2.0, 3.5)))
    return Backbone(
        stem=PatchEmbed(image=(16, 16), patch=(8, 8)),
        stages=(Stage(dim=Choice(24, 16), depth=Choice(1, 2), block=block),),
        head=Head(classes=5, pool=Choice("class", "mean")),
    )


@pytest.fixture(scope="session")
def nested() -> Backbone:
    """Options with decisions inside: one branch is 2 + 2 + 1 = 5 things, the other 1 + 2 = 3; depth 1 to 2: 240."""
    first = Choice(
        Attention(heads=Choice(1, 2), head_dim=8),
        Attention(heads=Choice(3, 4), head_dim=4, qk_norm=True),
        MLP(ratio=1.0),
    )
    position = Choice(None, RelativePosition(reach=Choice(1, 2)))
    block = Block(first, Attention(heads=2, head_dim=8, position=position))
    return Backbone(
        stem=PatchEmbed(image=(16, 16), patch=(8, 8)),
        stages=(Stage(dim=16, depth=Choice(1, 2), block=block),),
        head=Head(classes=5),
    )
