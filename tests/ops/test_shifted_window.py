from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitesse.arch import (
    ContinuousPosition,
    Grid,
    HeadMix,
    ImageRelativePosition,
    OffsetTable,
    ShiftedWindowAttention,
)
from vitesse.ops.shifted_window import ShiftedWindowSelfAttention, log_offsets, regions_mask

KINDS: dict[str, dict[str, Any]] = {
    "table": {},
    "nothing": {"position": None},
    "v2": {"cosine": True, "bias": "qv", "position": ContinuousPosition(hidden=5)},
    "image position": {"position": ImageRelativePosition(extra=False, on="qkv", shared=False), "bias": False},
    # Without a bias, which weighs what is masked, too.
    "mixed": {"mix": HeadMix(), "position": ImageRelativePosition(extra=False, on="qkv")},
}


MAP = Grid(6, 9)


def made(grid: Grid = MAP, **changes: Any) -> tuple[ShiftedWindowSelfAttention, Tensor]:
    torch.manual_seed(0)
    value = ShiftedWindowAttention(**{"heads": 2, "head_dim": 4, "window": 3, "shift": True} | changes)
    module = ShiftedWindowSelfAttention(value, 6).double()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module.eval(), torch.randn(2, grid.tokens, 6).double()


@pytest.mark.parametrize("kind", KINDS)
def test_training_and_inference_compute_alike(kind: str) -> None:
    """Fused kernels take part in the one only."""
    module, x = made(**KINDS[kind])
    learned = module(x, Grid(6, 9))
    with torch.no_grad():
        torch.testing.assert_close(module(x, Grid(6, 9)), learned, rtol=1e-9, atol=1e-9)
    learned.sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_a_batch_see_nothing_of_each_other(kind: str) -> None:
    module, x = made(**KINDS[kind])
    with torch.no_grad():
        torch.testing.assert_close(module(x[1:], Grid(6, 9))[0], module(x, Grid(6, 9))[1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_shift_sees_what_lies_together_and_nothing_else(kind: str) -> None:
    """A change of one token reaches the tokens of its shifted window that were beside it, and no others."""
    module, x = made(**KINDS[kind])
    changed = x.clone().unflatten(1, (6, 9))
    changed[:, 5, 8] += 1  # the lower right corner: its window is the corner itself, and came around with others
    with torch.no_grad():
        apart = (module(changed.flatten(1, 2), Grid(6, 9)) - module(x, Grid(6, 9))).abs().sum(-1).view(2, 6, 9)
    # Windows of 3 moved by 1 begin at rows 1 and 4, and at columns 1, 4 and 7.
    reached = torch.zeros(6, 9, dtype=torch.bool)
    reached[4:, 7:] = True
    assert torch.equal(apart.amax(0) > 1e-8, reached)


def test_the_mask_of_the_published_code() -> None:
    """Nine regions, cut at the last window and at the step along each side."""
    labels = torch.zeros(6, 9)
    count = 0
    for rows in (slice(0, -3), slice(-3, -1), slice(-1, None)):
        for columns in (slice(0, -3), slice(-3, -1), slice(-1, None)):
            labels[rows, columns] = count
            count += 1
    windows = labels.view(2, 3, 3, 3).transpose(1, 2).reshape(6, 9)
    expected = -100.0 * (windows[:, None] != windows[:, :, None])
    assert torch.equal(regions_mask(Grid(6, 9), Grid(3, 3), 1, 1, torch.device("cpu")), expected)
    # Along a side that is not moved nothing is apart.
    still = regions_mask(Grid(3, 9), Grid(3, 3), 0, 1, torch.device("cpu")).view(3, 3, 3, 3, 3)
    assert (still[:, :, 1, :, 1] == 0).all() and still[2, 0, 0, 0, 2] == -100


@pytest.mark.parametrize("position", [OffsetTable(), ContinuousPosition(hidden=5, window=3)])
def test_a_map_smaller_than_a_window_is_one(position: Any) -> None:
    """It is attended to whole, without a shift, and offsets mean what they mean in a full window."""
    module, x = made(Grid(2, 3), window=5, position=position)
    small, _ = made(window=3, position=position)
    small.load_state_dict({k: v for k, v in module.state_dict().items() if not k.endswith("offset_bias")}, strict=False)
    if isinstance(position, OffsetTable):
        small.position.offset_bias.data = module.position.offset_bias.view(2, 9, 9)[:, 2:7, 2:7].flatten(1)
    torch.testing.assert_close(module(x, Grid(2, 3)), small(x, Grid(2, 3)))


def test_log_spaced_offsets() -> None:
    """The farthest offset of the window is log2(9) / 3, nothing is 0, and signs stay."""
    found = log_offsets(Grid(3, 2), 2, torch.device("cpu")).view(5, 3, 2)
    assert found[4, 1].tolist() == pytest.approx([torch.tensor(9.0).log2().item() / 3, 0.0])
    assert torch.equal(found.flip(0, 1), -found)


def test_masked_always_or_only_where_shifted() -> None:
    x = made()[1]
    outputs = {
        (shift, always): made(shift=shift, always_masked=always)[0](x, Grid(6, 9))
        for shift in (True, False)
        for always in (True, False)
    }
    assert torch.equal(outputs[True, True], outputs[True, False])
    assert not torch.allclose(outputs[False, True], outputs[False, False])


def test_odd_means_odd() -> None:
    value = ShiftedWindowAttention(heads=1)
    assert [value.at(b).shift for b in range(4)] == [False, True, False, True]
    assert [ShiftedWindowAttention(heads=1, shift=True).at(b).shift for b in range(2)] == [True, True]
