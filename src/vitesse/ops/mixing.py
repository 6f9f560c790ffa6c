"""Transformations that tell apart blocks with shared weights: the modules behind `HeadMix`, `LocalMix` and `LocalTransform`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitesse.arch import Grid, HeadMix, LocalMix, LocalTransform
from vitesse.ops.convolution import to_map, to_tokens


class HeadMap(nn.Module):
    """A linear map over the heads of an attention, the identity at first; `weight` is (to heads, from heads)."""

    def __init__(self, heads: int, *, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(heads))
        self.bias = nn.Parameter(torch.zeros(heads)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, heads, N, N) to (B, heads, N, N)."""
        # One small matrix for each image: as one matrix for all, its gradient would take several times as long on a CPU.
        weight = self.weight.to(x.dtype).expand(x.shape[0], -1, -1)
        mixed = torch.bmm(weight, x.flatten(2)).view_as(x)
        return mixed if self.bias is None else mixed + self.bias.to(x.dtype)[:, None, None]


class HeadMixing(nn.Module):
    """The maps before and after the softmax (MiniViT, CVPR 2022)."""

    def __init__(self, value: HeadMix, heads: int) -> None:
        super().__init__()
        self.before = HeadMap(heads, bias=value.bias) if value.before else nn.Identity()
        self.after = HeadMap(heads, bias=value.bias) if value.after else nn.Identity()

    def forward(self, scores: Tensor, mask: Tensor | None = None) -> Tensor:
        """Scores to weights of the values, (B, heads, N, N) both; the rows of the result need not sum to 1.

        mask: added behind the first map, (windows, N, N), where B are the windows of images one after another.
        """
        mixed = self.before(scores)
        if mask is not None:
            mixed = (mixed.unflatten(0, (-1, len(mask))) + mask[:, None]).flatten(0, 1)
        weights: Tensor = self.after(mixed.softmax(-1).to(scores.dtype))
        return weights


class LocalMixing(nn.Module):
    """A depthwise convolution over the patches, zero at first; extra tokens get zeros, and so stay as they are."""

    def __init__(self, value: LocalMix, embed: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(embed, embed, value.kernel, padding=value.kernel // 2, groups=embed)
        nn.init.zeros_(self.conv.weight)
        assert self.conv.bias is not None
        nn.init.zeros_(self.conv.bias)

    @property
    def last(self) -> nn.Conv2d:
        """The layer that computes what this one gives."""
        return self.conv

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """(B, N, embed) to (B, N, embed)."""
        patches = (
            x[:, grid.extra :].transpose(1, 2).unflatten(2, (grid.rows, grid.columns))
        )  # (B, embed, rows, columns)
        out: Tensor = self.conv(patches).flatten(2).transpose(1, 2)
        return torch.cat([torch.zeros_like(x[:, : grid.extra], dtype=out.dtype), out], 1) if grid.extra else out


class LocalTransforming(nn.Module):
    """t + conv(t), t the normalized tokens; the convolution begins at zero."""

    def __init__(self, value: LocalTransform, embed: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embed, eps=value.inner_norm.eps)
        self.conv = nn.Conv2d(embed, embed, value.kernel, padding=value.kernel // 2, groups=embed, bias=value.bias)
        nn.init.zeros_(self.conv.weight)
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """(B, N, embed) to (B, N, embed)."""
        normed = to_map(self.norm(x), grid)  # (B, embed, rows, columns)
        return to_tokens(normed + self.conv(normed))
