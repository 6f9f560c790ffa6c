"""Attention inside windows of the map: the module behind `arch.WindowAttention`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from vitesse.arch import Grid, WindowAttention
from vitesse.ops.kept import kept


class WindowSelfAttention(nn.Module):
    """softmax(q k^T / sqrt(head_dim) + bias of the offset) v in each window; rows of `qkv` are (three, heads, head_dim)."""

    def __init__(self, value: WindowAttention, embed: int) -> None:
        super().__init__()
        self.value = value
        width = value.heads * value.head_dim
        self.norm = nn.LayerNorm(embed, eps=value.inner_norm.eps)
        self.qkv = nn.Linear(embed, 3 * width)
        self.proj = nn.Linear(width, embed)
        self.position = OffsetBias(value.heads, value.window)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """(B, N, embed) to (B, N, embed); `grid` says how the N tokens lie on the map."""
        part = Grid(self.value.window, self.value.window)
        # Where the map's size is left open, as in an export, asking whether it is one window would fix the answer.
        whole = isinstance(grid.rows, int) and grid == part
        parts = x if whole else split(x, grid, part)  # (B * windows, window * window, embed)
        joint = self.qkv(self.norm(parts)).unflatten(-1, (3, self.value.heads, self.value.head_dim))
        q, k, v = joint.permute(2, 0, 3, 1, 4).unbind(0)  # (B * windows, heads, window * window, head_dim) each
        out = attend(q, k, v, self.position(part).to(q.dtype))
        projected: Tensor = self.proj(out.transpose(1, 2).flatten(2))
        return projected if whole else join(projected, grid, part)


class OffsetBias(nn.Module):
    """A learned bias for each head and each distance between two tokens of a window; zero at the start."""

    def __init__(self, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.offset_bias = nn.Parameter(torch.zeros(heads, window**2))

    def forward(self, part: Grid) -> Tensor:
        """What is added to the scores of the T tokens of a part of the map, no larger than a window: (heads, T, T)."""
        places = offset_places(part, self.window, self.offset_bias.device)
        # Indexing with the (N, N) table itself computes the same and takes six times as long on a CPU.
        gathered = self.offset_bias.index_select(1, places.flatten())
        return gathered.view(-1, *places.shape)


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(head_dim) + bias) v; q, k, v and the result are (B, heads, N, head_dim).

    bias: (heads, N, N), or where B are the windows of images one after another (windows, heads, N, N).
    """
    if bias.ndim == 4:
        # As if each window had heads of its own: so nothing as large as the scores is made for each image.
        q, k, v = (x.unflatten(0, (-1, len(bias))).flatten(1, 2) for x in (q, k, v))
        found: Tensor = attend(q, k, v, bias.flatten(0, 1)).unflatten(1, bias.shape[:2]).flatten(0, 1)
        return found
    if bias.requires_grad and bias.device.type == "cpu":
        # No fused kernel of the CPU gives the bias a gradient, and what stands in for one guards against rows of -inf.
        attended: Tensor = ((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2) + bias).softmax(-1) @ v
        return attended
    # As (1, heads, N, N): with three dimensions the fused kernel is not taken.
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=bias[None])


def split(x: Tensor, grid: Grid, part: Grid) -> Tensor:
    """(B, N, C) to (B * windows, tokens of `part`, C), the map filled up with zeros below and on the right."""
    down, across = -(-grid.rows // part.rows), -(-grid.columns // part.columns)
    below, right = down * part.rows - grid.rows, across * part.columns - grid.columns
    x = x.unflatten(1, (grid.rows, grid.columns))
    if below or right:
        x = functional.pad(x, (0, 0, 0, right, 0, below))
    x = x.unflatten(2, (across, part.columns)).unflatten(1, (down, part.rows))  # (B, down, rows, across, columns, C)
    return x.transpose(2, 3).flatten(3, 4).flatten(0, 2)


def join(x: Tensor, grid: Grid, part: Grid) -> Tensor:
    """What `split` took apart, without what was filled up: (B, N, C)."""
    down, across = -(-grid.rows // part.rows), -(-grid.columns // part.columns)
    x = x.unflatten(1, (part.rows, part.columns)).unflatten(0, (-1, down, across)).transpose(2, 3)
    x = x.flatten(3, 4).flatten(1, 2)[:, : grid.rows, : grid.columns]  # (B, rows, columns, C)
    return x.flatten(1, 2)


@kept
def offset_places(part: Grid, window: int, device: torch.device) -> Tensor:
    """Which entry of the table is that of each pair of tokens: |rows apart| * window + |columns apart|; (T, T)."""
    place = torch.arange(part.patches, device=device)
    row, column = place // part.columns, place % part.columns
    return (row[:, None] - row).abs() * window + (column[:, None] - column).abs()
