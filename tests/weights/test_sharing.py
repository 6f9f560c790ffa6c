"""Weights that blocks come to share: the first's, the mean, a least-squares fit, each by its definition."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from vitesse.arch import MLP, Attention, Backbone, Block, Head, HeadMix, PatchEmbed, Stage, parameters
from vitesse.errors import VitesseError
from vitesse.nets import build
from vitesse.weights.sharing import LayerFit, from_first, from_mean, plain_of, sharers, untied

ARCH = Backbone(
    stem=PatchEmbed(image=(16, 16), patch=(8, 8)),
    stages=(Stage(dim=16, depth=4, block=Block(Attention(heads=2, head_dim=8, mix=HeadMix()), MLP()), share=2),),
    head=Head(classes=3),
)
FC1 = "stages.0.blocks.{}.1.op.fc1.weight"


def test_sharers_are_the_blocks_of_a_group() -> None:
    users = sharers(ARCH)
    assert users[FC1.format(2)] == [FC1.format(2), FC1.format(3)]
    assert not any("norm" in name or "mix" in name for name in users)
    assert sharers(plain_of(ARCH)) == {}


def test_back_and_forth_is_the_same() -> None:
    state = build(ARCH).state_dict()
    plain = untied(state, ARCH)
    assert set(plain) == set(parameters(plain_of(ARCH)))
    assert plain[FC1.format(3)] is state[FC1.format(2)]
    for way in (from_first, from_mean):
        again = way(plain, ARCH)
        assert set(again) == set(state)
        assert all(torch.equal(again[name], state[name]) for name in state)


def test_a_mean_is_of_its_group_alone() -> None:
    state = build(plain_of(ARCH)).state_dict()
    mean = from_mean(state, ARCH)
    torch.testing.assert_close(mean[FC1.format(2)], (state[FC1.format(2)] + state[FC1.format(3)]) / 2)
    norm = "stages.0.blocks.3.1.norm.weight"
    assert mean[norm] is state[norm]


def test_what_the_original_lacks_is_left_out() -> None:
    stage = ARCH.stages[0]
    bare = replace(ARCH, stages=(replace(stage, block=Block(Attention(heads=2, head_dim=8), MLP()), share=1),))
    assert set(parameters(ARCH)) - set(from_mean(build(bare).state_dict(), ARCH)) == {
        f"stages.0.blocks.{b}.0.op.mix.{place}.weight" for b in range(4) for place in ("before", "after")
    }


def fitted(layers: list[torch.nn.Linear], inputs: list[torch.Tensor], ridge: float) -> torch.nn.Linear:
    fit = LayerFit.like(layers[0].weight, layers[0].bias)
    for layer, x in zip(layers, inputs, strict=True):
        fit.add_layer(layer.weight, layer.bias)
        fit.see(x, layer.weight, layer.bias)
    made = torch.nn.Linear(layers[0].in_features, layers[0].out_features, bias=layers[0].bias is not None)
    weight, bias = fit.solve(ridge=ridge, bias=made.bias is not None)
    with torch.no_grad():
        made.weight.copy_(weight)
        if bias is not None:
            made.bias.copy_(bias)
    return made


@pytest.mark.parametrize("bias", [True, False])
def test_a_fit_is_the_least_squares_solution(bias: bool) -> None:
    torch.manual_seed(0)
    layers = [torch.nn.Linear(5, 3, bias=bias) for _ in range(3)]
    inputs = [torch.randn(2, 40, 5) * (k + 1) for k in range(3)]
    made = fitted(layers, inputs, ridge=1e-9)
    x = torch.cat([one.flatten(0, 1) for one in inputs])
    y = torch.cat([layer(one.flatten(0, 1)) for layer, one in zip(layers, inputs, strict=True)])
    design = torch.cat([x, torch.ones(len(x), 1)], 1) if bias else x
    solution = torch.linalg.lstsq(design, y).solution.T
    torch.testing.assert_close(made.weight, solution[:, :5], rtol=1e-4, atol=1e-5)
    if bias:
        torch.testing.assert_close(made.bias, solution[:, 5], rtol=1e-4, atol=1e-5)


def test_a_fit_keeps_each_layer_where_its_inputs_lie() -> None:
    """Two layers that are given different directions: one matrix can be both."""
    torch.manual_seed(0)
    layers = [torch.nn.Linear(6, 4, bias=False) for _ in range(2)]
    inputs = [torch.randn(50, 6), torch.randn(50, 6)]
    inputs[0][:, 3:], inputs[1][:, :3] = 0, 0
    made = fitted(layers, inputs, ridge=1e-6)
    for layer, x in zip(layers, inputs, strict=True):
        torch.testing.assert_close(made(x), layer(x), rtol=1e-3, atol=1e-3)


def test_a_strong_ridge_is_the_mean() -> None:
    torch.manual_seed(0)
    layers = [torch.nn.Linear(5, 3) for _ in range(2)]
    made = fitted(layers, [torch.randn(9, 5), torch.randn(9, 5)], ridge=1e9)
    torch.testing.assert_close(made.weight, (layers[0].weight + layers[1].weight) / 2)
    torch.testing.assert_close(made.bias, (layers[0].bias + layers[1].bias) / 2)


def test_a_fit_that_saw_nothing_is_refused() -> None:
    layer = torch.nn.Linear(2, 2)
    fit = LayerFit.like(layer.weight, layer.bias)
    fit.add_layer(layer.weight, layer.bias)
    with pytest.raises(VitesseError, match="given nothing"):
        fit.solve(ridge=0.1, bias=True)
