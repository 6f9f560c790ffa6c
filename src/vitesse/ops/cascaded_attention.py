"""Attention whose heads see a part of the channels each, one after the other: the module behind `arch.CascadedAttention`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from vitesse.arch import CascadedAttention, Grid
from vitesse.ops.convolution import ConvNorm, to_map, to_tokens
from vitesse.ops.folding import scale_out
from vitesse.ops.window_attention import OffsetBias, join, split


class CascadedSelfAttention(nn.Module):
    """proj(relu(heads)), where each head sees its channels plus what the head before made; starts as nothing."""

    def __init__(self, value: CascadedAttention, embed: int) -> None:
        super().__init__()
        self.value = value
        lane = value.lane(embed)
        self.heads = nn.ModuleList(CascadedHead(lane, value.key_dim, kernel) for kernel in value.kernels[: value.heads])
        self.position = OffsetBias(value.heads, value.window)
        self.proj = ConvNorm(embed, embed)
        nn.init.zeros_(self.proj.norm.weight)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """(B, N, embed) to (B, N, embed); `grid` says how the N tokens lie on the map."""
        count, window = self.value.windows(grid)
        whole = count == 1 and window == grid
        parts = x if whole else split(x, grid, window)  # (B * windows, T, embed)
        biases = self.position(window).to(x.dtype).unbind(0)
        made: Tensor | None = None
        found = []
        for head, part, bias in zip(self.heads, parts.chunk(self.value.heads, -1), biases, strict=True):
            # Two convolutions read it: what is strided is copied once.
            seen = part.contiguous() if made is None else part + made
            made = head(seen, window, bias)  # (B * windows, T, lane)
            found.append(made)
        joint = functional.relu(torch.cat(found, -1), inplace=True)
        projected = to_tokens(self.proj(to_map(joint, window)))
        return projected if whole else join(projected, grid, window)


class CascadedHead(nn.Module):
    """softmax(local(q) k^T / sqrt(key_dim) + bias of the offset) v for one head; rows of `query_key` are (two, key_dim)."""

    def __init__(self, lane: int, key_dim: int, kernel: int) -> None:
        super().__init__()
        self.query_key = ConvNorm(lane, 2 * key_dim)
        self.value = ConvNorm(lane, lane)
        self.local = ConvNorm(key_dim, key_dim, kernel, groups=key_dim)

    def forward(self, x: Tensor, window: Grid, bias: Tensor) -> Tensor:
        """(B, T, lane) to (B, T, lane); `bias` is added to the scores, (T, T)."""
        on_map = to_map(x, window)
        q, k = self.query_key(on_map).chunk(2, 1)  # (B, key_dim, rows, columns) each
        q, v = to_tokens(self.local(q)), to_tokens(self.value(on_map))
        scores = torch.baddbmm(bias, q, k.flatten(2), alpha=k.shape[1] ** -0.5)  # (B, T, T)
        return scores.softmax(-1) @ v

    def folded(self) -> FoldedHead:
        """The same in evaluation, with one convolution for q, k and v."""
        return FoldedHead(self.query_key.folded(), self.value.folded(), self.local.folded())


class FoldedHead(nn.Module):
    """A `CascadedHead` as it is served: q, k and v by one convolution, the scores' scale within the queries' own."""

    @torch.no_grad()
    def __init__(self, query_key: nn.Conv2d, value: nn.Conv2d, local: nn.Conv2d) -> None:
        super().__init__()
        key_dim, lane = local.out_channels, value.out_channels
        self.sizes = [key_dim, key_dim, lane]
        self.qkv = nn.Conv2d(value.in_channels, sum(self.sizes), 1).to(value.weight)
        self.qkv.weight.copy_(torch.cat([query_key.weight, value.weight]))
        assert query_key.bias is not None and value.bias is not None and self.qkv.bias is not None
        self.qkv.bias.copy_(torch.cat([query_key.bias, value.bias]))
        self.local = local
        scale_out(local, torch.full((key_dim,), key_dim**-0.5))

    def forward(self, x: Tensor, window: Grid, bias: Tensor) -> Tensor:
        """As of `CascadedHead`."""
        q, k, v = self.qkv(to_map(x, window)).split(self.sizes, 1)
        scores = torch.baddbmm(bias, to_tokens(self.local(q)), k.flatten(2))  # (B, T, T)
        return scores.softmax(-1) @ to_tokens(v)
