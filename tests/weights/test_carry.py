from __future__ import annotations

import random

import torch

from vitesse.arch import (
    MLP,
    Attention,
    Backbone,
    Block,
    Choice,
    ConvStem,
    Downsample,
    Head,
    LocalConv,
    MBConv,
    PatchEmbed,
    RelativePosition,
    Stage,
    WindowAttention,
    sample,
    tensors,
)
from vitesse.supernet import Supernet
from vitesse.weights.carry import carry


def plain(
    *, dims: tuple[int, ...], depths: tuple[int, ...], heads: tuple[int, ...], head_dims: tuple[int, ...]
) -> Backbone:
    attention = Attention(heads=Choice(*heads), head_dim=Choice(*head_dims), position=RelativePosition(reach=2))
    return Backbone(
        stem=PatchEmbed(image=(8, 8), patch=(2, 2)),
        stages=(Stage(dim=Choice(*dims), depth=Choice(*depths), block=Block(attention, MLP(ratio=Choice(1.0, 2.0)))),),
        head=Head(classes=5),
    )


def hierarchical(*, dims: tuple[int, ...], windows: tuple[int, ...], kernels: tuple[int, ...]) -> Backbone:
    block = Block(
        WindowAttention(heads=Choice(1, 2), head_dim=8, window=Choice(*windows)), LocalConv(kernel=Choice(*kernels))
    )
    return Backbone(
        stem=ConvStem(image=(32, 32)),
        stages=(
            Stage(dim=8, depth=1, block=Block(MBConv(ratio=Choice(1.0, 2.0)))),
            Stage(dim=Choice(*dims), depth=1, block=block, down=Downsample()),
        ),
        head=Head(classes=5, pool="mean"),
    )


def assert_common_subnets_agree(before: Backbone, after: Backbone, common: Backbone) -> None:
    torch.manual_seed(0)
    old, new = Supernet(before).eval(), Supernet(after).eval()
    for tensor in old.network.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.1, 1.0)  # tables and biases begin at zero, statistics alike
    own = new.network.state_dict()
    carried = carry(old.network.state_dict(), tensors(old.host), own, tensors(new.host))
    assert any(not torch.equal(carried[name], own[name]) for name in own)
    new.network.load_state_dict(carried)
    images, rng = torch.rand(2, 3, *before.stem.image), random.Random(0)
    for _ in range(4):
        arch = sample(common, rng)
        torch.testing.assert_close(new(images, arch), old(images, arch), rtol=1e-5, atol=1e-5)


def test_a_network_of_both_spaces_computes_the_same_with_both() -> None:
    assert_common_subnets_agree(
        plain(dims=(8, 16), depths=(1, 2), heads=(1, 2), head_dims=(4, 8)),
        plain(dims=(16, 24), depths=(2, 3), heads=(2, 3), head_dims=(8, 12)),
        plain(dims=(16,), depths=(2,), heads=(2,), head_dims=(8,)),
    )


def test_so_it_does_where_the_space_has_shrunk() -> None:
    assert_common_subnets_agree(
        plain(dims=(16, 24), depths=(2, 3), heads=(2, 3), head_dims=(8, 12)),
        plain(dims=(8, 16), depths=(1, 2), heads=(1, 2), head_dims=(4, 8)),
        plain(dims=(16,), depths=(2,), heads=(2,), head_dims=(8,)),
    )


def test_windows_and_kernels_keep_what_a_slice_keeps() -> None:
    assert_common_subnets_agree(
        hierarchical(dims=(8, 16), windows=(2, 4), kernels=(3, 5)),
        hierarchical(dims=(16, 24), windows=(4, 8), kernels=(5, 7)),
        hierarchical(dims=(16,), windows=(4,), kernels=(5,)),
    )
