"""Attention inside windows that may be shifted: the module behind `arch.ShiftedWindowAttention`."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from vitesse.arch import ContinuousPosition, Grid, ImageRelativePosition, OffsetTable, ShiftedWindowAttention
from vitesse.ops.attention import attend_mixed
from vitesse.ops.image_position import ImagePositionTables
from vitesse.ops.kept import kept
from vitesse.ops.mixing import HeadMixing
from vitesse.ops.window_attention import attend, join, split

APART = -100.0  # what is added to the scores of tokens that only the ring brought together, as published
LARGEST = math.log(100.0)  # of the logarithm of a factor of cosines, as published


class ShiftedWindowSelfAttention(nn.Module):
    """Attention in each window, with what is learned for offsets; rows of `qkv` are (three, heads, head_dim)."""

    def __init__(self, value: ShiftedWindowAttention, embed: int) -> None:
        super().__init__()
        self.value = value.at(0)
        width = value.heads * value.head_dim
        self.qkv = KeylessBias(embed, width) if value.bias == "qv" else nn.Linear(embed, 3 * width, bias=value.bias)
        self.proj = nn.Linear(width, embed)
        self.cosine = CosineFactor(value.heads) if value.cosine else None
        self.position = _position(value)
        self.mix = None if value.mix is None else HeadMixing(value.mix, value.heads)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """(B, N, embed) to (B, N, embed); `grid` says how the N tokens lie on the map."""
        part, (down, right) = self.value.part(grid), self.value.steps(grid)
        mask = None
        if (down or right) and (self.value.shift or self.value.always_masked):
            mask = regions_mask(grid, part, down, right, x.device)  # (windows, T, T)
        shifted = bool(self.value.shift) and (down or right)
        if shifted:
            x = _rolled(x, grid, -down, -right)
        parts = x if part == grid else split(x, grid, part)  # (B * windows, T, embed)
        joint = self.qkv(parts).unflatten(-1, (3, self.value.heads, self.value.head_dim))
        q, k, v = joint.permute(2, 0, 3, 1, 4).unbind(0)  # (B * windows, heads, T, head_dim) each
        out = self._attended(q, k, v, part, mask)
        projected: Tensor = self.proj(out.transpose(1, 2).flatten(2))
        joined = projected if part == grid else join(projected, grid, part)
        return _rolled(joined, grid, down, right) if shifted else joined

    def _attended(self, q: Tensor, k: Tensor, v: Tensor, part: Grid, mask: Tensor | None) -> Tensor:
        """Attention within windows; all but the mask, (windows, T, T), are (B * windows, heads, T, head_dim)."""
        if self.cosine is not None:
            q, k = self.cosine(q).to(v.dtype), functional.normalize(k, dim=-1).to(v.dtype)
        mask = None if mask is None else mask.to(q.dtype)
        tables = self.position if isinstance(self.position, ImagePositionTables) else None
        bias = None if tables is not None or self.position is None else self.position(part).to(q.dtype)
        if self.mix is not None:
            return attend_mixed(q, k, v, part, self.mix, position=tables, bias=bias, mask=mask)
        if tables is not None:
            each = None if mask is None else mask.repeat(len(q) // len(mask), 1, 1)[:, None]
            out: Tensor = tables.attend(q, k, v, part, mask=each)
            return out
        if bias is None and mask is None:
            return functional.scaled_dot_product_attention(q, k, v)
        if mask is not None:
            bias = mask[:, None].expand(-1, q.shape[1], -1, -1) if bias is None else bias + mask[:, None]
        assert bias is not None
        return attend(q, k, v, bias)


class KeylessBias(nn.Linear):
    """Queries, keys and values of a token, without a bias of the keys; `bias` is (two, heads, head_dim)."""

    def __init__(self, embed: int, width: int) -> None:
        super().__init__(embed, 3 * width, bias=False)
        self.bias = nn.Parameter(torch.zeros(2 * width))

    def forward(self, x: Tensor) -> Tensor:
        """(..., embed) to (..., three * width)."""
        q, v = self.bias.chunk(2)
        return functional.linear(x, self.weight, torch.cat([q, torch.zeros_like(q), v]))


class CosineFactor(nn.Module):
    """Queries whose products with unit keys, divided by sqrt(head_dim), are cosines times a factor of each head."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.log_factor = nn.Parameter(torch.full((heads,), math.log(10.0)))

    def forward(self, q: Tensor) -> Tensor:
        """(B, heads, T, head_dim) to the same."""
        factor = self.log_factor.clamp(max=LARGEST).exp() * q.shape[-1] ** 0.5
        scaled: Tensor = functional.normalize(q, dim=-1) * factor[:, None, None]
        return scaled


class SignedOffsets(nn.Module):
    """A learned number for each head and each signed offset of two tokens of a window."""

    def __init__(self, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.offset_bias = nn.Parameter(torch.empty(heads, (2 * window - 1) ** 2))
        nn.init.trunc_normal_(self.offset_bias, std=0.02)

    def forward(self, part: Grid) -> Tensor:
        """What is added to the scores of the T tokens of a window, no larger than the full one: (heads, T, T)."""
        places = signed_places(part, Grid(self.window, self.window), self.offset_bias.device)
        return _spread(self.offset_bias, places)


class ContinuousOffsets(nn.Module):
    """16 sigmoid(a perceptron of the log-spaced offset), for each head."""

    def __init__(self, value: ContinuousPosition, heads: int, window: int) -> None:
        super().__init__()
        self.longest = max((value.window or window) - 1, 1)
        self.fc1 = nn.Linear(2, value.hidden)
        self.fc2 = nn.Linear(value.hidden, heads, bias=False)

    def forward(self, part: Grid) -> Tensor:
        """What is added to the scores of the T tokens of a window: (heads, T, T)."""
        weight = self.fc1.weight
        offsets = log_offsets(part, self.longest, weight.device).to(weight.dtype)  # (offsets, 2)
        table = 16 * self.fc2(functional.relu(self.fc1(offsets))).sigmoid()  # (offsets, heads)
        places = signed_places(part, part, weight.device)
        return _spread(table.T, places)


def _position(value: ShiftedWindowAttention) -> SignedOffsets | ContinuousOffsets | ImagePositionTables | None:
    position = value.position
    if isinstance(position, OffsetTable):
        return SignedOffsets(value.heads, value.window)
    if isinstance(position, ContinuousPosition):
        return ContinuousOffsets(position, value.heads, value.window)
    if isinstance(position, ImageRelativePosition):
        return ImagePositionTables(position, value.heads, value.head_dim)
    return None


def _spread(table: Tensor, places: Tensor) -> Tensor:
    """The entries (heads, entries) at the places (T, T): (heads, T, T)."""
    return table.index_select(1, places.flatten()).view(-1, *places.shape)


def _rolled(x: Tensor, grid: Grid, down: int, right: int) -> Tensor:
    """The tokens (B, N, C) moved on the map, which is a ring in both directions."""
    on_map: Tensor = x.unflatten(1, (grid.rows, grid.columns))
    return on_map.roll((down, right), (1, 2)).flatten(1, 2)


@kept
def signed_places(part: Grid, whole: Grid, device: torch.device) -> Tensor:
    """Which entry of the table for `whole` is that of each pair of tokens of `part`: query minus key, rows first; (T, T)."""
    place = torch.arange(part.patches, device=device)
    row, column = place // part.columns, place % part.columns
    rows = row[:, None] - row + whole.rows - 1
    return rows * (2 * whole.columns - 1) + column[:, None] - column + whole.columns - 1


@kept
def log_offsets(part: Grid, longest: int, device: torch.device) -> Tensor:
    """The offsets within a part, rows first, as SwinV2 spaces them: sign(d) log2(1 + 8 |d| / longest) / 3; (offsets, 2)."""
    rows = torch.arange(1 - part.rows, part.rows, device=device)
    columns = torch.arange(1 - part.columns, part.columns, device=device)
    offsets = torch.cartesian_prod(rows, columns).double() * (8 / longest)
    return offsets.sign() * (offsets.abs() + 1).log2() / 3


@kept
def regions_mask(grid: Grid, part: Grid, down: int, right: int, device: torch.device) -> Tensor:
    """0 where two tokens of a window lay beside each other before the shift, else -100; (windows, T, T)."""
    rows = _regions(-(-grid.rows // part.rows) * part.rows, part.rows, down, device)
    columns = _regions(-(-grid.columns // part.columns) * part.columns, part.columns, right, device)
    labels = (3 * rows[:, None] + columns).flatten()[None, :, None]
    filled = Grid(len(rows), len(columns))
    tokens = split(labels, filled, part).squeeze(-1)  # (windows, T)
    return torch.where(tokens[:, :, None] == tokens[:, None, :], 0.0, APART)


def _regions(length: int, window: int, step: int, device: torch.device) -> Tensor:
    """Along one side: all but the last window, what is left of that, and what came around from the other end."""
    place = torch.arange(length, device=device)
    came = place >= length - step if step else torch.zeros_like(place, dtype=torch.bool)
    return (place >= length - window).long() * (step > 0) + came.long()
