"""Transformations that tell apart blocks with shared weights: the modules behind `arch.HeadMix` and `arch.LocalMix`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitesse.arch import Grid, HeadMix, LocalMix


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

    def forward(self, scores: Tensor) -> Tensor:
        """Scores to weights of the values, (B, heads, N, N) both; the rows of the result need not sum to 1."""
        weights: Tensor = self.after(self.before(scores).softmax(-1).to(scores.dtype))
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
