"""Patch merging, the way into a stage of Swin, as a value."""

from __future__ import annotations

from dataclasses import dataclass

from vitesse.arch.choice import among, instances, require
from vitesse.arch.operation import Down, Grid, LayerNorm, Table


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchMerging(Down):
    """Joins the channels of 2 x 2 neighbours, normalizes them and maps them to the new width (Swin, section 3.1).

    `post_norm` normalizes what was mapped instead (SwinV2). A side that is odd is filled up with zeros.
    """

    norm: LayerNorm = LayerNorm(eps=1e-5)
    post_norm: bool = False

    def __post_init__(self) -> None:
        require(
            self,
            norm=(instances(self.norm, LayerNorm), "must be a LayerNorm"),
            post_norm=(among(self.post_norm, True, False), "must be True or False"),
        )

    def axes(self) -> Table:
        normed = "embed" if self.post_norm else "four previous"
        return {"norm.weight": normed, "norm.bias": normed, "reduction.weight": "embed, four previous"}

    def sizes(self, previous: int, embed: int) -> dict[str, int]:
        return {"previous": previous, "embed": embed, "four": 4}

    def macs(self, previous: int, embed: int, before: Grid) -> int:
        return self.grid(before).tokens * 4 * previous * embed

    def working_set(self, previous: int, embed: int, before: Grid) -> int:
        return self.grid(before).tokens * (4 * previous + embed)
