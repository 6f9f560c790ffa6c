"""Positions that a space may choose: the slice is the network, zero tables say nothing, heads have no order."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitesse.arch import (
    MLP,
    Attention,
    Backbone,
    Block,
    Choice,
    Head,
    ImageRelativePosition,
    PatchEmbed,
    Stage,
    from_json,
    largest,
    parameters,
    sample,
    size,
    smallest,
    to_json,
)
from vitesse.errors import VitesseError
from vitesse.supernet import Supernet, inherit
from vitesse.weights.reorder import reorder
from vitesse.weights.slice import slice_state

STEPS: dict[str, Any] = {"alpha": 1.0, "beta": Choice(1.0, 2.0, 3.8), "gamma": 15.2}


def chosen(method: str, *, shared: bool) -> Backbone:
    """Each block has no position, one of keys or one of all three, fine or coarse."""
    how: dict[str, Any] = {"method": method, "shared": shared, **STEPS}
    position = Choice(None, ImageRelativePosition(on="k", **how), ImageRelativePosition(on="qkv", **how))
    attention = Attention(heads=Choice(1, 2, 3), head_dim=Choice(4, 8), position=position)
    return Backbone(
        stem=PatchEmbed(image=(16, 20), patch=(4, 4)),
        stages=(Stage(dim=Choice(12, 16), depth=Choice(1, 2), block=Block(attention, MLP(ratio=1.0))),),
        head=Head(classes=5, pool="mean"),
    )


@pytest.fixture(params=["product", "euclidean", "quantization", "cross"])
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[True, False], ids=["shared", "of each head"])
def space(method: str, request: pytest.FixtureRequest) -> Backbone:
    return chosen(method, shared=request.param)


@pytest.fixture
def supernet(space: Backbone) -> Supernet:
    torch.manual_seed(0)
    supernet = Supernet(space)
    for parameter in supernet.parameters():
        nn.init.normal_(parameter, std=0.4)
    return supernet.double().eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(2, 3, 16, 20, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_the_space_is_a_value(space: Backbone) -> None:
    assert from_json(to_json(space)) == space
    a_block = 3 * 2 * (1 + 3 + 3)  # heads, their width, position
    assert size(space) == 2 * (a_block + a_block**2)


def test_the_extracted_network_equals_the_slice(space: Backbone, supernet: Supernet, images: Tensor) -> None:
    for arch in (smallest(space), *(sample(space, random.Random(seed)) for seed in range(4))):
        extracted = inherit(supernet.network, arch)
        torch.testing.assert_close(extracted(images), supernet(images, arch), rtol=0, atol=1e-12)
        supernet.zero_grad(set_to_none=True)
        extracted(images).square().sum().backward()
        supernet(images, arch).square().sum().backward()
        whole = {
            name: torch.zeros_like(weight) if weight.grad is None else weight.grad
            for name, weight in supernet.network.named_parameters()
        }
        cut = slice_state(whole, parameters(supernet.host), parameters(arch))
        for name, weight in extracted.named_parameters():
            assert weight.grad is not None
            torch.testing.assert_close(cut[name], weight.grad, rtol=1e-9, atol=1e-9)


def test_coarser_tables_keep_distance_nought(space: Backbone, supernet: Supernet) -> None:
    position = largest(space).stages[0].blocks[0].branches[0].position  # type: ignore[attr-defined]
    fine = dict(supernet.network.named_parameters())
    stage = supernet.host.stages[0]
    attention, mlp = stage.blocks[0].branches
    coarse = dataclasses.replace(attention, position=dataclasses.replace(position, beta=1.0))  # type: ignore[type-var, arg-type, call-arg]
    arch = dataclasses.replace(supernet.host, stages=(dataclasses.replace(stage, block=Block(coarse, mlp)),))
    small = inherit(supernet.network, arch)
    for name, weight in small.named_parameters():
        if not name.endswith(("_table", "_rows", "_columns")):
            continue
        axes = position.axes()[name.rpartition(".")[2]].split(", ")
        centre = tuple(fine[name].shape[d] // 2 if axis == "reach" else slice(None) for d, axis in enumerate(axes))
        middle = tuple(weight.shape[d] // 2 if axis == "reach" else slice(None) for d, axis in enumerate(axes))
        assert torch.equal(weight[middle], fine[name][centre]) and weight.shape != fine[name].shape


def test_zero_tables_are_no_positions(space: Backbone, supernet: Supernet, images: Tensor) -> None:
    for name, weight in supernet.network.named_parameters():
        if ".position." in name:
            nn.init.zeros_(weight)
    stage = supernet.host.stages[0]
    attention, mlp = stage.blocks[0].branches
    plain = Block(dataclasses.replace(attention, position=None), mlp)  # type: ignore[type-var, call-arg]
    arch = dataclasses.replace(supernet.host, stages=(dataclasses.replace(stage, block=plain),))
    torch.testing.assert_close(supernet(images, arch), supernet(images), rtol=0, atol=1e-12)


def test_the_order_of_heads_changes_nothing(supernet: Supernet, images: Tensor) -> None:
    network, shapes = supernet.network, parameters(supernet.host)
    before = network(images)
    names = {
        axis.name for shape in shapes.values() for dimension in shape for axis in dimension if axis.kind == "heads"
    }
    order = {name: torch.tensor([2, 0, 1]) for name in names}
    permuted = reorder(network.state_dict(), shapes, order)
    unshared = not supernet.host.stages[0].blocks[0].branches[0].position.shared  # type: ignore[attr-defined]
    moved = [n for n, w in permuted.items() if ".position." in n and not torch.equal(w, network.state_dict()[n])]
    assert bool(moved) == unshared
    network.load_state_dict(permuted)
    torch.testing.assert_close(network(images), before, rtol=0, atol=1e-10)


def test_a_bucket_that_means_something_else_is_no_slice() -> None:
    host = chosen("product", shared=True)
    small = smallest(chosen("cross", shared=True))
    block = Block(Attention(heads=1, head_dim=4, position=ImageRelativePosition(method="cross")), MLP(ratio=1.0))
    small = dataclasses.replace(small, stages=(dataclasses.replace(small.stages[0], block=block),))
    with pytest.raises(VitesseError, match="lacks .*key_rows"):
        Supernet(host)(torch.zeros(1, 3, 16, 20), small)


def test_a_stem_with_extra_tokens_needs_an_entry_for_them(space: Backbone) -> None:
    block = Block(Attention(heads=1, position=Choice(None, ImageRelativePosition(extra=Choice(True, False)))), MLP())
    stage = dataclasses.replace(space.stages[0], block=block)
    with pytest.raises(ValueError, match=r"the extra tokens \('class',\) of the stem, but have no entry"):
        dataclasses.replace(space, stages=(stage,))
    dataclasses.replace(space, stem=dataclasses.replace(space.stem, tokens=()), stages=(stage,))
