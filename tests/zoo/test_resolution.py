from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from vitesse.arch import MLP, Attention, Backbone, Block, Grid, Head, PatchEmbed, Stage
from vitesse.errors import VitesseError
from vitesse.nets import Network, build
from vitesse.zoo import at_resolution, with_windows
from vitesse.zoo.efficientvit import efficientvit_m0
from vitesse.zoo.swin import swin_tiny_patch4_window7_224, swinv2_tiny_window8_256
from vitesse.zoo.tinyvit import tiny_vit


def small(image: int = 32, windows: tuple[int, ...] = (1, 4, 2), classes: int = 6) -> Network:
    torch.manual_seed(0)
    arch = tiny_vit(
        dims=(8, 16, 16), depths=(1, 1, 1), heads=(1, 2, 2), windows=windows, classes=classes, image=(image, image)
    )
    network = build(arch).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network


def test_biases_are_interpolated_for_another_resolution() -> None:
    network = small()
    larger = with_windows(network, small(64, (1, 8, 4)).arch)
    name = "stages.1.blocks.0.0.op.position.offset_bias"
    old = network.state_dict()[name].view(1, 2, 4, 4)
    expected = functional.interpolate(old, size=(8, 8), mode="bicubic", align_corners=False).view(2, 64)
    assert torch.equal(larger.state_dict()[name], expected)
    assert larger(torch.rand(1, 3, 64, 64)).shape == (1, 6)
    same = with_windows(network, network.arch)
    images = torch.rand(1, 3, 32, 32)
    assert torch.equal(same(images), network(images))


def test_no_other_difference_is_allowed() -> None:
    network = small()
    with pytest.raises(VitesseError, match="windows alone"):
        with_windows(network, small(classes=7).arch)
    stem = replace(network.arch.stem, act="relu")
    with pytest.raises(VitesseError, match="windows alone"):
        with_windows(network, replace(network.arch, stem=stem))


def test_windows_grow_with_the_map() -> None:
    larger = at_resolution(small(), (64, 64))
    assert larger.arch == small(64, (1, 8, 4)).arch


@pytest.mark.parametrize(("side", "windows"), [(160, [7, 5, 3]), (256, [7, 7, 4]), (384, [7, 7, 6])])
def test_windows_of_cascades_are_the_largest_or_the_map(side: int, windows: list[int]) -> None:
    """As published for another resolution, where the last stage's map of 4 at 224 pixels is its window."""
    larger = at_resolution(build(efficientvit_m0(classes=3)).eval(), (side, side))
    assert [stage.blocks[0].branches[2].window for stage in larger.arch.stages] == windows  # type: ignore[union-attr]
    assert larger.arch == efficientvit_m0(classes=3, image=side)
    assert larger(torch.rand(1, 3, side, side)).shape == (1, 3)


def test_a_plain_vit_computes_what_it_did_on_larger_images() -> None:
    """It interpolates its positions on the way; here they are interpolated once."""
    block = Block(Attention(heads=2, head_dim=8), MLP())
    stages = (Stage(dim=16, depth=1, block=block),)
    network = build(Backbone(stem=PatchEmbed(image=16, patch=4), stages=stages, head=Head(classes=5))).eval()
    larger = at_resolution(network, (24, 24))
    images = torch.rand(2, 3, 24, 24)
    assert larger.arch.stem.positions == 37 and torch.allclose(larger(images), network(images), atol=1e-6)
    with pytest.raises(VitesseError, match="multiple of the patch"):
        at_resolution(network, (18, 18))


def test_tables_of_signed_offsets_are_interpolated() -> None:
    """Swin for 384 pixels: windows of 12 from those of 7, as published, and the shift follows."""
    torch.manual_seed(0)
    plain = swin_tiny_patch4_window7_224(classes=3)
    tiny = replace(plain, stages=tuple(replace(stage, dim=32, depth=1) for stage in plain.stages))
    network = build(tiny).eval()
    larger = at_resolution(network, (384, 384))
    name = "stages.1.blocks.0.0.op.position.offset_bias"
    old = network.state_dict()[name].view(1, 6, 13, 13)
    expected = functional.interpolate(old, size=(23, 23), mode="bicubic", align_corners=False).view(6, 529)
    assert torch.equal(larger.state_dict()[name], expected)
    assert [stage.blocks[0].branches[0].window for stage in larger.arch.stages] == [12] * 4  # type: ignore[union-attr]
    assert larger(torch.rand(1, 3, 384, 384)).shape == (1, 3)


def test_a_function_of_offsets_needs_no_interpolation() -> None:
    """What is added for an offset stays what it was, because offsets are spaced as they were in the old window."""
    torch.manual_seed(0)
    plain = swinv2_tiny_window8_256(classes=3)
    tiny = replace(plain, stages=tuple(replace(stage, dim=8, depth=1) for stage in plain.stages))
    network = build(tiny).eval()
    larger = at_resolution(network, (512, 512))
    state, other = network.state_dict(), larger.state_dict()
    assert all(torch.equal(state[name], other[name]) for name in state)
    old, new = (one.stages[0].blocks[0][0].op.position for one in (network, larger))  # type: ignore[union-attr, index]
    eight = Grid(8, 8)
    torch.testing.assert_close(new(eight), old(eight))
    again = at_resolution(larger, (256, 256))
    images = torch.rand(1, 3, 256, 256)
    torch.testing.assert_close(again(images), network(images))
