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
        window = self.value.window
        # Where the map's size is left open, as in an export, asking whether it is one window would fix the answer.
        whole = isinstance(grid.rows, int) and grid.rows == grid.columns == window
        parts = x if whole else split(x, grid, window)  # (B * windows, window * window, embed)
        joint = self.qkv(self.norm(parts)).unflatten(-1, (3, self.value.heads, self.value.head_dim))
        q, k, v = joint.permute(2, 0, 3, 1, 4).unbind(0)  # (B * windows, heads, window * window, head_dim) each
        out = attend(q, k, v, self.position().to(q.dtype))
        projected: Tensor = self.proj(out.transpose(1, 2).flatten(2))
        return projected if whole else join(projected, grid, window)


class OffsetBias(nn.Module):
    """A learned bias for each head and each distance between two tokens of a window; zero at the start."""

    def __init__(self, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.offset_bias = nn.Parameter(torch.zeros(heads, window**2))

    def forward(self) -> Tensor:
        """What is added to the score of each pair of a window's tokens, (heads, window * window, window * window)."""
        places = offset_places(self.window, self.offset_bias.device)
        # Indexing with the (N, N) table itself computes the same and takes six times as long on a CPU.
        gathered = self.offset_bias.index_select(1, places.flatten())
        return gathered.view(-1, *places.shape)


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(head_dim) + bias) v; q, k, v and the result are (B, heads, N, head_dim)."""
    if bias.requires_grad and bias.device.type == "cpu":
        # No fused kernel of the CPU gives the bias a gradient, and what stands in for one guards against rows of -inf.
        attended: Tensor = ((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2) + bias).softmax(-1) @ v
        return attended
    # As (1, heads, N, N): with three dimensions the fused kernel is not taken.
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=bias[None])


def split(x: Tensor, grid: Grid, window: int) -> Tensor:
    """(B, N, C) to (B * windows, window * window, C), the map filled up with zeros below and on the right."""
    down, across = -(-grid.rows // window), -(-grid.columns // window)
    x = x.unflatten(1, (grid.rows, grid.columns))
    if (down * window, across * window) != (grid.rows, grid.columns):
        x = functional.pad(x, (0, 0, 0, across * window - grid.columns, 0, down * window - grid.rows))
    x = x.unflatten(2, (across, window)).unflatten(1, (down, window))  # (B, down, window, across, window, C)
    return x.transpose(2, 3).flatten(3, 4).flatten(0, 2)


def join(x: Tensor, grid: Grid, window: int) -> Tensor:
    """What `split` took apart, without what was filled up: (B, N, C)."""
    down, across = -(-grid.rows // window), -(-grid.columns // window)
    x = x.unflatten(1, (window, window)).unflatten(0, (-1, down, across)).transpose(2, 3)
    x = x.flatten(3, 4).flatten(1, 2)[:, : grid.rows, : grid.columns]  # (B, rows, columns, C)
    return x.flatten(1, 2)


@kept
def offset_places(window: int, device: torch.device) -> Tensor:
    """Which entry of the table is that of each pair of tokens: |rows apart| * window + |columns apart|; (N, N)."""
    place = torch.arange(window * window, device=device)
    row, column = place // window, place % window
    return (row[:, None] - row).abs() * window + (column[:, None] - column).abs()
