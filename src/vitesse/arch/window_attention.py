"""Attention inside windows of the map, with a learned bias for each offset, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from vitesse.arch.choice import every, instances, require
from vitesse.arch.operation import Grid, LayerNorm, Operation, Role, Table


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowAttention(Operation):
    """Multi-head self-attention among the tokens of each `window` x `window` part of the map (TinyViT, section 3.2).

    To each score a learned bias is added, one for each head and each distance (|rows apart|, |columns apart|). A map
    that the windows do not divide is filled up with zeros at the bottom and on the right before `inner_norm`, which
    therefore stands inside the operation; what was filled up is attended to, as published.
    """

    map_only: ClassVar[bool] = True
    roles: ClassVar[Mapping[str, Role]] = {"position": "position"}

    heads: int
    head_dim: int = 32
    window: int = 7
    inner_norm: LayerNorm = LayerNorm(eps=1e-5)

    def __post_init__(self) -> None:
        require(
            self,
            heads=(every(self.heads, int, 1), "must be an integer of at least 1"),
            head_dim=(every(self.head_dim, int, 1), "must be an integer of at least 1"),
            window=(every(self.window, int, 1), "must be an integer of at least 1"),
            inner_norm=(instances(self.inner_norm, LayerNorm), "must be a LayerNorm"),
        )

    def axes(self) -> Table:
        return {
            "norm.weight": "embed",
            "norm.bias": "embed",
            "qkv.weight": "three heads head_dim, embed",
            "qkv.bias": "three heads head_dim",
            "position.offset_bias": "heads, window window",
            "proj.weight": "embed, heads head_dim",
            "proj.bias": "embed",
        }

    def sizes(self, embed: int) -> dict[str, int]:
        own = {"heads": self.heads, "head_dim": self.head_dim, "window": self.window}
        return {"embed": embed, "three": 3, **own}

    def windows(self, grid: Grid) -> Grid:
        """How many windows the map has, down and across, once it is filled up."""
        return Grid(-(-grid.rows // self.window), -(-grid.columns // self.window))

    def macs(self, embed: int, grid: Grid) -> int:
        width, tokens = self.heads * self.head_dim, self.window**2
        return self.windows(grid).tokens * tokens * width * (4 * embed + 2 * tokens)

    def working_set(self, embed: int, grid: Grid) -> int:
        width, tokens = self.heads * self.head_dim, self.window**2
        return self.windows(grid).tokens * tokens * (embed + 4 * width + self.heads * tokens)
