"""The stem: patches in reading order, extra tokens before them, positions where the value says; other resolutions."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from timm.layers import PatchEmbed as TimmPatchEmbed
from torch import nn

from vitesse.arch import Grid, LayerNorm, PatchEmbed
from vitesse.ops.patch_embed import PatchTokens

VALUE = PatchEmbed(image=(8, 12), patch=(4, 2), tokens=("class", "register"))


def stem(value: PatchEmbed) -> PatchTokens:
    torch.manual_seed(0)
    return PatchTokens(value, 6).double()


def images(height: int = 8, width: int = 12) -> torch.Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("norm", [None, LayerNorm()])
@pytest.mark.parametrize("position", ["all", "patches", "none"])
@pytest.mark.parametrize("tokens", [(), ("class",), ("class", "register", "register")])
def test_tokens_and_positions(
    tokens: tuple[str, ...], position: Literal["all", "patches", "none"], norm: LayerNorm | None
) -> None:
    value = PatchEmbed(image=(8, 12), patch=(4, 2), tokens=tokens, position=position, norm=norm)
    module, x = stem(value), images()
    out = module(x)
    # By hand: each patch is a row of 3 * 4 * 2 numbers that meets one matrix.
    rows = x.unfold(2, 4, 4).unfold(3, 2, 2).permute(0, 2, 3, 1, 4, 5).flatten(1, 2).flatten(2)  # (B, 2 * 6, 24)
    assert module.proj.bias is not None
    patches = rows @ module.proj.weight.flatten(1).T + module.proj.bias
    learned = module.position if value.positions else torch.zeros((), dtype=torch.float64)
    if position == "patches":
        patches = patches + learned
    first = module.tokens.expand(2, -1, -1) if tokens else patches[:, :0]
    whole = torch.cat([first, patches], 1)
    whole = module.norm(whole + learned if position == "all" else whole)
    torch.testing.assert_close(out, whole, rtol=0, atol=1e-12)
    assert out.shape == (2, value.grid.tokens, 6) and module.grid(x) == value.grid == Grid(2, 6, len(tokens))
    assert isinstance(module.norm, nn.LayerNorm) == (norm is not None)


def test_patches_are_timms() -> None:
    value = PatchEmbed(image=(8, 12), patch=(4, 4), tokens=(), position="none")
    ours, theirs = stem(value), TimmPatchEmbed((8, 12), 4, 3, 6).double()
    theirs.proj.load_state_dict(ours.proj.state_dict())
    torch.testing.assert_close(ours(images()), theirs(images()), rtol=0, atol=1e-12)


@pytest.mark.parametrize("position", ["all", "patches"])
def test_other_resolutions_interpolate(position: Literal["all", "patches"]) -> None:
    """The extra tokens keep theirs; a position that is linear over the map stays so inside of it."""
    value = PatchEmbed(image=(16, 24), patch=(4, 2), tokens=("class",), position=position)
    module = stem(value)
    extra = value.positions - value.grid.patches
    ramp = torch.arange(4).double()[:, None] + 10 * torch.arange(12).double()  # (rows, columns)
    with torch.no_grad():
        module.position[:extra] = 100.0
        module.position[extra:] = ramp.flatten()[:, None]
    grid = module.grid(images(32, 48))
    resized = module._positions(grid)
    assert grid == Grid(8, 24, 1) and resized.shape == (grid.patches + extra, 6)
    assert torch.all(resized[:extra] == 100.0)
    field = resized[extra:, 0].view(8, 24)
    centre = torch.arange(8).double()[:, None] / 2 - 0.25 + 10 * (torch.arange(24).double() / 2 - 0.25)
    torch.testing.assert_close(field[3:5, 4:-4], centre[3:5, 4:-4], rtol=0, atol=1e-3)
    assert module(images(32, 48)).shape == (2, grid.tokens, 6)


def test_a_map_of_as_many_patches_in_another_shape_is_another_map() -> None:
    """2 x 6 and 6 x 2 patches are as many: the positions must still be resampled, not taken in a row."""
    module = stem(VALUE)
    turned = module._positions(module.grid(images(24, 4)))
    assert turned.shape == module.position.shape and not torch.equal(turned, module.position)
    square = stem(PatchEmbed(image=(8, 32), patch=(4, 4)))  # 2 x 8 learned, 4 x 4 asked for
    assert not torch.equal(square._positions(square.grid(images(16, 16))), square.position)


def test_positions_get_gradients_through_the_interpolation() -> None:
    module = stem(VALUE)
    module(images(16, 24)).square().sum().backward()
    assert module.position.grad is not None and bool(module.position.grad.any(-1).all())


def test_patches_must_fit() -> None:
    with pytest.raises(ValueError, match=r"multiple of the patch \(4, 2\), but got 10 x 12. Resize the images or pad"):
        stem(VALUE)(images(10, 12))
