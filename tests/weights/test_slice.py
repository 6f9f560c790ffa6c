"""The slice by hand: which entries it keeps, that it is a view, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from vitesse.arch import MLP, Attention, Backbone, Block, Head, PatchEmbed, RelativePosition, Stage, parameters
from vitesse.errors import VitesseError
from vitesse.weights.slice import lengths, slice_state


def backbone(
    dim: int = 12, depth: int = 2, heads: int = 3, reach: int = 3, ratio: float = 2.0, **changes: Any
) -> Backbone:
    bias, head_dim, tokens = changes.get("bias", True), changes.get("head_dim", 4), changes.get("tokens", ("class",))
    attention = Attention(heads=heads, head_dim=head_dim, bias=bias, position=RelativePosition(reach=reach))
    return Backbone(
        stem=PatchEmbed(image=(changes.get("image", 16),) * 2, patch=(8, 8), tokens=tokens),
        stages=(Stage(dim=dim, depth=depth, block=Block(attention, MLP(ratio=ratio))),),
        head=Head(classes=changes.get("classes", 5)),
    )


def numbered(arch: Backbone) -> dict[str, Tensor]:
    """A state whose entries are all different."""
    return {
        name: torch.arange(float(torch.Size(lengths(shape)).numel())).reshape(lengths(shape)).requires_grad_()
        for name, shape in parameters(arch).items()
    }


def test_each_tensor_keeps_its_first_entries_by_the_meaning_of_its_axes() -> None:
    big, small = backbone(), backbone(dim=8, depth=1, heads=2, ratio=1.5)
    state = numbered(big)
    cut = slice_state(state, parameters(big), parameters(small))
    block = "stages.0.blocks.0"
    assert {name: tuple(tensor.shape) for name, tensor in cut.items()} == {
        name: lengths(shape) for name, shape in parameters(small).items()
    }
    # Rows of qkv are (three, heads, head_dim): two heads of each of the three, not the first 24 rows.
    qkv = state[f"{block}.0.op.qkv.weight"].view(3, 3, 4, 12)[:, :2, :, :8].reshape(24, 8)
    assert torch.equal(cut[f"{block}.0.op.qkv.weight"], qkv)
    assert torch.equal(cut[f"{block}.0.op.qkv.bias"], state[f"{block}.0.op.qkv.bias"].view(3, 3, 4)[:, :2].flatten())
    proj = state[f"{block}.0.op.proj.weight"].view(12, 3, 4)[:8, :2].reshape(8, 8)
    assert torch.equal(cut[f"{block}.0.op.proj.weight"], proj)
    assert torch.equal(cut[f"{block}.1.op.fc1.weight"], state[f"{block}.1.op.fc1.weight"][:12, :8])
    assert torch.equal(cut["stem.proj.weight"], state["stem.proj.weight"][:8])
    assert torch.equal(cut["head.classifier.weight"], state["head.classifier.weight"][:, :8])
    assert not any(".blocks.1." in name for name in cut)


def test_head_dim_is_cut_within_each_head() -> None:
    big, small = backbone(), backbone(head_dim=2)
    state = numbered(big)
    name = "stages.0.blocks.1.0.op.qkv.weight"
    cut = slice_state(state, parameters(big), parameters(small))
    assert torch.equal(cut[name], state[name].view(3, 3, 4, 12)[:, :, :2].reshape(18, 12))


@pytest.mark.parametrize("reach", [1, 2])
def test_tables_of_distances_keep_their_centre(reach: int) -> None:
    big, small = backbone(reach=3), backbone(reach=reach)
    state = numbered(big)
    cut = slice_state(state, parameters(big), parameters(small))
    for side in ("key", "value"):
        name = f"stages.0.blocks.0.0.op.position.{side}_rows"
        assert torch.equal(cut[name][reach], state[name][3])  # distance 0
        assert torch.equal(cut[name], state[name][3 - reach : 3 + reach + 1])
        extra = f"stages.0.blocks.0.0.op.position.{side}_extra"
        assert cut[extra] is state[extra]


def test_a_packed_bias_keeps_its_first_entries() -> None:
    big, small = backbone(bias="packed"), backbone(bias="packed", heads=2)
    state = numbered(big)
    name = "stages.0.blocks.0.0.op.qkv.bias"
    assert torch.equal(slice_state(state, parameters(big), parameters(small))[name], state[name][:24])


def test_gradients_flow_into_the_whole() -> None:
    big, small = backbone(), backbone(dim=8, heads=2, depth=1)
    state = numbered(big)
    cut = slice_state(state, parameters(big), parameters(small))
    sum(tensor.sum() for tensor in cut.values()).backward()  # type: ignore[union-attr]
    for name, tensor in state.items():
        if name in cut:
            assert tensor.grad is not None and int(tensor.grad.sum()) == cut[name].numel()
        else:
            assert tensor.grad is None


def test_the_whole_is_itself() -> None:
    state = numbered(backbone())
    cut = slice_state(state, parameters(backbone()), parameters(backbone()))
    assert all(cut[name] is tensor for name, tensor in state.items())


def test_slicing_twice_is_slicing_once() -> None:
    big, middle, small = backbone(), backbone(dim=10, heads=2, reach=2), backbone(dim=8, depth=1, heads=1, reach=1)
    state = numbered(big)
    twice = slice_state(slice_state(state, parameters(big), parameters(middle)), parameters(middle), parameters(small))
    once = slice_state(state, parameters(big), parameters(small))
    assert all(torch.equal(once[name], twice[name]) for name in parameters(small))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: backbone(dim=16), "the axis embed can only shrink, but 12 was to become 16"),
        (lambda: backbone(heads=4), "the axis heads can only shrink, but 3 was to become 4"),
        (lambda: backbone(depth=3), r"lacks stages.0.blocks.2.0.norm.weight"),
        (lambda: backbone(reach=5), "the axis reach can only shrink, but 7 was to become 11"),
        (lambda: backbone(image=8), "the axis positions cannot be cut, but 5 was to become 2"),
        (lambda: backbone(classes=4), "the axis classes cannot be cut, but 5 was to become 4"),
        (lambda: backbone(bias="packed"), "a slice keeps the meaning of axes"),
        (lambda: backbone(tokens=("class", "register")), "the axis tokens cannot be cut, but 1 was to become 2"),
    ],
)
def test_what_is_no_slice_is_refused(make: Callable[[], Backbone], message: str) -> None:
    big = backbone()
    # Without biases cut to other meanings: each refusal must come from the axis that is asked for.
    with pytest.raises(VitesseError, match=message):
        slice_state(numbered(big), parameters(big), parameters(make()))


def test_a_state_of_another_network_is_refused() -> None:
    big = backbone()
    state = numbered(backbone(dim=14))
    with pytest.raises(VitesseError, match=r"must have the shape \(12, 3, 8, 8\) of its axes, but has \(14, 3, 8, 8\)"):
        slice_state(state, parameters(big), parameters(big))
    del state["head.norm.bias"]
    with pytest.raises(VitesseError, match="lacks head.norm.bias"):
        slice_state(state, parameters(big), parameters(big))
