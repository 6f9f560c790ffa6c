"""The stem of a plain ViT: the module behind `arch.PatchEmbed`."""

from __future__ import annotations

import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor, nn

from vitesse.arch import Grid, PatchEmbed


class PatchTokens(nn.Module):
    """Patches to tokens by one strided convolution, extra tokens before them, absolute positions added."""

    def __init__(self, value: PatchEmbed, embed: int) -> None:
        super().__init__()
        self.value = value
        self.proj = nn.Conv2d(value.channels, embed, value.patch, stride=value.patch, bias=value.bias)
        if value.tokens:
            self.tokens = nn.Parameter(torch.empty(len(value.tokens), embed))
            nn.init.trunc_normal_(self.tokens, std=0.02)
        if value.positions:
            self.position = nn.Parameter(torch.empty(value.positions, embed))
            nn.init.trunc_normal_(self.position, std=0.02)
        self.norm = nn.LayerNorm(embed, eps=value.norm.eps) if value.norm is not None else nn.Identity()

    def grid(self, images: Tensor) -> Grid:
        """How the tokens of these images (B, C, H, W) lie; ValueError where the patches do not fit."""
        height, width = images.shape[-2:]
        if height % self.value.patch[0] or width % self.value.patch[1]:
            raise ValueError(
                f"The image must be a multiple of the patch {self.value.patch}, but got {height} x {width}. "
                "Resize the images or pad them."
            )
        return Grid(height // self.value.patch[0], width // self.value.patch[1], len(self.value.tokens))

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to (B, N, embed)."""
        grid = self.grid(images)
        x = self.proj(images).flatten(2).transpose(1, 2)  # (B, patches, embed)
        if self.value.norm_first:
            x = self.norm(x)
        if self.value.position == "patches":
            x = x + self._positions(grid)
        if self.value.tokens:
            x = torch.cat([self.tokens.to(x.dtype).expand(x.shape[0], -1, -1), x], 1)  # (B, N, embed)
        if self.value.position == "all":
            x = x + self._positions(grid)
        out: Tensor = x if self.value.norm_first else self.norm(x)
        return out

    def _positions(self, grid: Grid) -> Tensor:
        """The learned positions, interpolated where the map is not the one that they were learned on."""
        if grid == self.value.grid:
            return self.position
        extra = grid.extra if self.value.position == "all" else 0
        resized: Tensor = resample_abs_pos_embed(
            self.position[None],
            new_size=[grid.rows, grid.columns],
            old_size=[self.value.grid.rows, self.value.grid.columns],
            num_prefix_tokens=extra,
        )
        return resized[0]
