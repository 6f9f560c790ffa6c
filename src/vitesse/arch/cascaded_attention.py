"""Attention whose heads see a part of the channels each, one after the other, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from vitesse.arch.choice import every, options, require
from vitesse.arch.convolution import conv_norm, odd, statistics
from vitesse.arch.operation import Grid, Operation, Role, Table


@dataclass(frozen=True, kw_only=True, slots=True)
class CascadedAttention(Operation):
    """Cascaded group attention among the tokens of each `window` x `window` part of the map (EfficientViT, section 2.3).

    The channels fall into `heads` equal parts, so that every width must be a multiple of it. A head sees its part plus
    what the head before it made of its own. Queries and keys are `key_dim` wide; the queries pass a depthwise convolution,
    whose side is the head's entry of `kernels` (entries beyond the heads mean nothing), and which sees zeros beyond its
    window. To each score a learned bias is added, one for each head and each distance (|rows apart|, |columns apart|).
    A map no larger than a window is one; any other that the windows do not divide is filled up with zeros at the bottom
    and on the right, which are attended to, as published.
    """

    map_only: ClassVar[bool] = True
    roles: ClassVar[Mapping[str, Role]] = {"position": "position"}

    heads: int
    kernels: tuple[int, ...]
    key_dim: int = 16
    window: int = 7

    def __post_init__(self) -> None:
        if isinstance(self.kernels, list):
            object.__setattr__(self, "kernels", tuple(self.kernels))
        require(
            self,
            heads=(every(self.heads, int, 1), "must be an integer of at least 1"),
            key_dim=(every(self.key_dim, int, 1), "must be an integer of at least 1"),
            window=(every(self.window, int, 1), "must be an integer of at least 1"),
        )
        most = max(options(self.heads))
        good = all(isinstance(row, tuple) and len(row) >= most and all(map(odd, row)) for row in options(self.kernels))
        require(self, kernels=(good, f"must hold an odd integer for each of {most} heads"))

    @property
    def widest_kernels(self) -> tuple[int, ...]:
        """For each head the largest kernel that it may have."""
        rows: tuple[tuple[Any, ...], ...] = options(self.kernels)
        sides = [[max(options(side)) for side in row] for row in rows]
        return tuple(max(row[i] for row in sides if i < len(row)) for i in range(max(map(len, sides))))

    def lane(self, embed: int) -> int:
        """The channels that one head sees; ValueError where the parts are not equal."""
        if embed % self.heads:
            raise ValueError(
                f"The heads of a CascadedAttention divide the channels among them, but {embed} is no multiple of "
                f"{self.heads}. Take another width, or another number of heads."
            )
        return embed // self.heads

    def axes(self) -> Table:
        table = {"position.offset_bias": "cascade, window window"}
        for i in range(self.heads):
            table |= conv_norm(f"heads.{i}.query_key", "two key_dim, lane, 1, 1")
            table |= conv_norm(f"heads.{i}.value", "lane, lane, 1, 1")
            table |= conv_norm(f"heads.{i}.local", f"key_dim, 1, {i}.kernel, {i}.kernel")
        return table | conv_norm("proj", "embed, cascade lane, 1, 1")

    def buffers(self) -> Table:
        table: Table = {}
        for i in range(self.heads):
            table |= statistics(f"heads.{i}.query_key", "two key_dim") | statistics(f"heads.{i}.value", "lane")
            table |= statistics(f"heads.{i}.local", "key_dim")
        return table | statistics("proj", "embed")

    def sizes(self, embed: int) -> dict[str, int]:
        own = {"cascade": self.heads, "two": 2, "key_dim": self.key_dim, "window": self.window}
        kernels = {f"{i}.kernel": side for i, side in enumerate(self.kernels[: self.heads])}
        return {"embed": embed, "lane": self.lane(embed), **own, **kernels}

    def windows(self, grid: Grid) -> tuple[int, Grid]:
        """How many windows the map has, and the tokens of each."""
        if max(grid.rows, grid.columns) <= self.window:
            return 1, grid
        return grid.reduced(self.window).patches, Grid(self.window, self.window)

    def macs(self, embed: int, grid: Grid) -> int:
        count, window = self.windows(grid)
        lane, tokens = self.lane(embed), window.tokens
        a_head = tokens * lane * (2 * self.key_dim + lane) + tokens**2 * (self.key_dim + lane)
        local = tokens * self.key_dim * sum(side**2 for side in self.kernels[: self.heads])
        return count * (self.heads * a_head + local + tokens * embed**2)

    def working_set(self, embed: int, grid: Grid) -> int:
        count, window = self.windows(grid)
        lane, tokens = self.lane(embed), window.tokens
        return count * tokens * (2 * embed + 3 * self.key_dim + 2 * lane + tokens)


def cascade_heads(branches: tuple[Operation, ...]) -> tuple[int, ...]:
    """Every number of heads that a cascade among these branches, some of them perhaps open, may have."""
    kinds = (item for branch in branches for item in options(branch) if isinstance(item, CascadedAttention))
    return tuple(dict.fromkeys(heads for item in kinds for heads in options(item.heads)))
