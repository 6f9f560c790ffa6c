"""The cost by formula is what the built network has, what torch counts, and what was published."""

from __future__ import annotations

import dataclasses
import random

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vitesse.arch import (
    MLP,
    Attention,
    Backbone,
    Block,
    Choice,
    Head,
    LayerNorm,
    PatchEmbed,
    RelativePosition,
    Stage,
    cost,
    largest,
    parameters,
    sample,
    smallest,
)
from vitesse.arch.axes import count
from vitesse.nets import build
from vitesse.weights.slice import lengths
from vitesse.zoo.autoformer import autoformer_tiny, autoformer_tiny_space

POSITIONS = Choice(
    None, RelativePosition(reach=1, on="k"), RelativePosition(reach=3, on="v"), RelativePosition(reach=2)
)
SPACE = Backbone(
    stem=PatchEmbed(
        image=(16, 24),
        patch=(8, 4),
        bias=Choice(True, False),
        tokens=("class", "distillation", "register"),
        position=Choice("all", "patches", "none"),
        norm=Choice(None, LayerNorm()),
    ),
    stages=(
        Stage(
            dim=Choice(8, 12, 20),
            depth=Choice(1, 2, 3),
            block=Block(
                Attention(
                    heads=Choice(1, 2, 3),
                    head_dim=Choice(4, 8),
                    bias=Choice(True, False, "packed"),
                    qk_norm=Choice(True, False),
                    position=POSITIONS,
                    layer_scale=Choice(True, False),
                    norm=Choice(LayerNorm(), None),
                ),
                MLP(ratio=Choice(1.3, 2.0), bias=Choice(True, False), layer_scale=Choice(True, False)),
            ),
        ),
    ),
    head=Head(classes=Choice(0, 5), pool=Choice("class", "mean", "distilled"), norm=Choice(None, LayerNorm())),
)
DRAWN = [sample(SPACE, random.Random(seed)) for seed in range(40)]


def without_positions(arch: Backbone) -> Backbone:
    stage = arch.stages[0]
    blocks = tuple(
        Block(dataclasses.replace(block.branches[0], position=None), *block.branches[1:])  # type: ignore[type-var]
        for block in stage.blocks
    )
    return dataclasses.replace(arch, stages=(dataclasses.replace(stage, block=blocks),))


@pytest.mark.parametrize("arch", DRAWN, ids=range(len(DRAWN)))
def test_names_shapes_and_number_of_parameters(arch: Backbone) -> None:
    with torch.device("meta"):
        network = build(arch)
    found = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    assert {name: lengths(shape) for name, shape in parameters(arch).items()} == found
    assert cost(arch).params == count(parameters(arch)) == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("arch", DRAWN[:12], ids=range(12))
def test_macs_are_what_torch_counts(arch: Backbone) -> None:
    arch = without_positions(arch)
    network = build(arch).eval()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, *arch.stem.image))
    assert counter.get_total_flops() == 2 * cost(arch).macs


@pytest.mark.parametrize(("on", "sides"), [("k", 1), ("v", 1), ("kv", 2)])
def test_relative_position_is_charged_by_definition(on: str, sides: int) -> None:
    """A vector of head_dim for each pair of tokens, head and side: N^2 * heads * head_dim products."""
    position = RelativePosition(reach=2, on=on)  # type: ignore[arg-type]
    plain, extended = (
        Backbone(
            stem=PatchEmbed(image=(8, 12), patch=(4, 4)),
            stages=(Stage(dim=24, depth=3, block=Block(Attention(heads=3, head_dim=8, position=p), MLP())),),
            head=Head(classes=5),
        )
        for p in (None, position)
    )
    tokens = 2 * 3 + 1
    assert cost(extended).macs - cost(plain).macs == 3 * sides * tokens**2 * 3 * 8
    assert cost(extended).params - cost(plain).params == 3 * sides * (5 + 5 + 2) * 8


def test_published_figures() -> None:
    found = cost(autoformer_tiny())
    assert (found.params, found.macs) == (5_867_944, 1_481_938_432)
    assert cost(smallest(autoformer_tiny_space())).params == 5_366_056
    assert cost(largest(autoformer_tiny_space())).params == 10_517_272


def test_memory_holds_the_weights_and_the_largest_layer() -> None:
    arch = Backbone(
        stem=PatchEmbed(image=(8, 8), patch=(4, 4)),
        stages=(Stage(dim=16, depth=2, block=Block(MLP(ratio=4.0))),),
        head=Head(classes=5),
    )
    # The residual stream, the normed input, and the hidden layer before and after the activation, of 5 tokens.
    assert cost(arch).memory_bytes == 4 * (cost(arch).params + 5 * (16 + 16 + 64 + 64))
    deeper = dataclasses.replace(arch, stages=(dataclasses.replace(arch.stages[0], depth=4),))
    assert cost(deeper).memory_bytes - cost(arch).memory_bytes == 4 * (cost(deeper).params - cost(arch).params)


def test_a_space_has_no_cost_of_its_own() -> None:
    with pytest.raises(ValueError, match=r"A space has no cost of its own: choose an architecture first, sample"):
        cost(SPACE)
    with pytest.raises(ValueError, match="A space has no parameters of its own"):
        parameters(SPACE)
    with pytest.raises(TypeError, match="takes an architecture, but got a int"):
        cost(3)
