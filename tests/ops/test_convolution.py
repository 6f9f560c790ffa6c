from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from vitesse.arch import ConvStem, Downsample, Grid, LocalConv, MBConv, PlainConv
from vitesse.ops.convolution import (
    ConvTokens,
    Downsampling,
    InvertedResidual,
    LocalConvolution,
    PlainConvolution,
    SqueezeExcite,
    to_map,
    to_tokens,
)

GRID = Grid(5, 7)


def test_tokens_are_a_map_without_a_copy() -> None:
    x = torch.randn(2, GRID.tokens, 4)
    on_map = to_map(x, GRID)
    assert on_map.is_contiguous(memory_format=torch.channels_last) and on_map.data_ptr() == x.data_ptr()
    assert torch.equal(on_map[1, :, 2, 3], x[1, 2 * 7 + 3])
    back = to_tokens(on_map)
    assert torch.equal(back, x) and back.data_ptr() == x.data_ptr() and back.is_contiguous()


@pytest.mark.parametrize("module", [InvertedResidual(MBConv(), 8), LocalConvolution(LocalConv(kernel=5), 8)], ids=str)
def test_operations_keep_the_memory_of_tokens(module: nn.Module) -> None:
    out = module(torch.randn(2, GRID.tokens, 8), GRID)
    assert out.shape == (2, GRID.tokens, 8) and out.is_contiguous()


def test_an_inverted_residual_begins_as_nothing() -> None:
    assert InvertedResidual(MBConv(), 8)(torch.randn(2, GRID.tokens, 8), GRID).abs().max() == 0


def test_a_local_convolution_sees_its_neighbours_only() -> None:
    module = LocalConvolution(LocalConv(), 4).eval()
    x = torch.randn(1, GRID.tokens, 4)
    changed = x.clone()
    changed[:, 0] += 1
    seen = (module(x, GRID) != module(changed, GRID)).any(-1).view(5, 7).nonzero().tolist()
    assert seen == [[0, 0], [0, 1], [1, 0], [1, 1]]


@pytest.mark.parametrize("grid", [GRID, Grid(4, 4), Grid(1, 1)])
def test_downsampling_makes_the_grid_of_its_value(grid: Grid) -> None:
    value = Downsample()
    out = Downsampling(value, 4, 6)(torch.randn(2, grid.tokens, 4), grid)
    assert out.shape == (2, value.grid(grid).tokens, 6)


@pytest.mark.parametrize("layers", [1, 2, 4])
@pytest.mark.parametrize("size", [(32, 32), (33, 50), (1, 7)])
def test_a_stem_makes_the_grid_of_its_value(layers: int, size: tuple[int, int]) -> None:
    module = ConvTokens(ConvStem(image=(32, 32), channels=2, layers=layers), 16)
    images = torch.randn(2, 2, *size)
    grid = module.grid(images)
    assert module(images).shape == (2, grid.tokens, 16)
    assert grid == ConvStem(image=size, layers=layers).grid
    assert [conv.conv.out_channels for conv in module.convs][-2:] == [8, 16][-layers:]  # type: ignore[union-attr]


def test_gates_multiply_channels_by_a_hard_sigmoid() -> None:
    """relu6(x + 3) / 6 of what the means say, through a quarter of the channels, in multiples of 8."""
    module = SqueezeExcite(16, 8, gate=nn.Hardsigmoid())
    x = torch.randn(2, 16, 5, 7)
    said = module.restore(module.reduce(x.mean((2, 3), keepdim=True)).relu())
    torch.testing.assert_close(module(x), x * functional.relu6(said + 3) / 6)
    assert [MBConv(ratio=1.0).sizes(width)["squeeze.hidden"] for width in (8, 16, 35, 46, 960)] == [8, 8, 8, 16, 240]


@pytest.mark.parametrize("squeeze", [False, True])
def test_without_the_first_convolution_it_is_depthwise_separable(squeeze: bool) -> None:
    module = InvertedResidual(MBConv(ratio=1.0, expand=False, squeeze=squeeze, act="silu"), 8).eval()
    nn.init.ones_(module.project.norm.weight)
    x = torch.randn(2, GRID.tokens, 8)
    inner = module.act(module.depthwise(to_map(x, GRID)))
    expected = module.project(module.squeeze(inner) if squeeze else inner)
    torch.testing.assert_close(module(x, GRID), to_tokens(expected))


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("expand", [True, False])
def test_a_way_in_makes_the_grid_of_its_value(stride: int, expand: bool) -> None:
    value = Downsample(ratio=1.0, kernel=5, stride=stride, squeeze=True, expand=expand)
    out = Downsampling(value, 4, 6)(torch.randn(2, GRID.tokens, 4), GRID)
    assert out.shape == (2, value.grid(GRID).tokens, 6) and out.is_contiguous()


def test_a_plain_convolution_changes_the_width_alone() -> None:
    value = PlainConv(kernel=3)
    module = PlainConvolution(value, 4, 6)
    x = torch.randn(2, GRID.tokens, 4)
    out = module(x, GRID)
    assert value.grid(GRID) == GRID and out.shape == (2, GRID.tokens, 6)
    torch.testing.assert_close(out, to_tokens(functional.silu(module.project(to_map(x, GRID)))))


def test_a_stem_may_end_in_its_activation() -> None:
    plain, active = (
        ConvTokens(ConvStem(image=8, layers=1, act="silu", act_last=last), 4).eval() for last in (False, True)
    )
    active.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(active(images), functional.silu(plain(images)))
