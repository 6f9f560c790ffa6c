from __future__ import annotations

import pytest
import torch
from torch import nn

from vitesse.arch import ConvStem, Downsample, Grid, LocalConv, MBConv
from vitesse.ops.convolution import ConvTokens, Downsampling, InvertedResidual, LocalConvolution, to_map, to_tokens

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
