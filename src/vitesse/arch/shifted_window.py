"""Attention inside windows that are shifted in every other block (Swin, ICCV 2021; SwinV2, CVPR 2022), as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from vitesse.arch.choice import QUIET, among, every, instances, require
from vitesse.arch.mixing import HeadMix
from vitesse.arch.operation import Grid, LayerNorm, Operation, Role, Table
from vitesse.arch.position import ImageRelativePosition
from vitesse.arch.window_position import ContinuousPosition, OffsetTable

TABLE = OffsetTable()


@dataclass(frozen=True, kw_only=True, slots=True)
class ShiftedWindowAttention(Operation):
    """Multi-head self-attention among the tokens of each `window` x `window` part of the map.

    `shift`: "odd" moves the windows by half of one, down and to the right, in every second block of a stage, so that what
    lay apart meets (blocks 1, 3, ...); True moves them always, False never. The map is a ring then, and what was not
    beside each other before is masked (by -100, as published); `always_masked` masks blocks that are not shifted alike, as
    the published Mini-Swin does. A side of the map that is no longer than a window is one, and is not shifted. A map that
    the windows do not divide is filled up with zeros at the bottom and on the right, which are attended to.

    `cosine`: the scores are cosines times a learned factor of each head (at most 100), as in SwinV2. `bias` "qv": of
    queries and values only. `mix` maps the heads onto each other around the softmax. `post_norm` puts the norm behind the
    operation instead of before it.
    """

    map_only: ClassVar[bool] = True
    roles: ClassVar[Mapping[str, Role]] = {"position": "position", "mix": "transform"}

    heads: int
    head_dim: int = 32
    window: int = 7
    shift: bool | Literal["odd"] = "odd"
    bias: bool | Literal["qv"] = True
    cosine: bool = False
    position: OffsetTable | ContinuousPosition | ImageRelativePosition | None = TABLE
    mix: HeadMix | None = None
    always_masked: bool = field(default=False, metadata=QUIET)
    post_norm: bool = field(default=False, metadata=QUIET)
    layer_scale: bool = False
    norm: LayerNorm | None = LayerNorm(eps=1e-5)

    def __post_init__(self) -> None:
        integer, flag = "must be an integer of at least 1", "must be True or False"
        kinds = (OffsetTable, ContinuousPosition, ImageRelativePosition, type(None))
        require(
            self,
            heads=(every(self.heads, int, 1), integer),
            head_dim=(every(self.head_dim, int, 1), integer),
            window=(every(self.window, int, 1), integer),
            shift=(among(self.shift, True, False, "odd"), 'must be True, False or "odd"'),
            bias=(among(self.bias, True, False, "qv"), 'must be True, False or "qv"'),
            cosine=(among(self.cosine, True, False), flag),
            position=(
                instances(self.position, *kinds),
                "must be an OffsetTable, a ContinuousPosition, an ImageRelativePosition or None",
            ),
            mix=(instances(self.mix, HeadMix, type(None)), "must be a HeadMix or None"),
            always_masked=(among(self.always_masked, True, False), flag),
            post_norm=(among(self.post_norm, True, False), flag),
            layer_scale=(among(self.layer_scale, True, False), flag),
            norm=(instances(self.norm, LayerNorm, type(None)), "must be a LayerNorm or None"),
        )

    def at(self, position: int) -> ShiftedWindowAttention:
        return replace(self, shift=position % 2 == 1) if self.shift == "odd" else self

    def axes(self) -> Table:
        axes = {"qkv.weight": "three heads head_dim, embed", "proj.weight": "embed, heads head_dim"}
        if self.bias:
            axes["qkv.bias"] = f"{'two' if self.bias == 'qv' else 'three'} heads head_dim"
        axes["proj.bias"] = "embed"
        if self.cosine:
            axes["cosine.log_factor"] = "heads"
        for name, part in (("position", self.position), ("mix", self.mix)):
            axes |= {} if part is None else {f"{name}.{inner}": shape for inner, shape in part.axes().items()}
        return axes

    def sizes(self, embed: int) -> dict[str, int]:
        own = {"embed": embed, "two": 2, "three": 3, "heads": self.heads, "head_dim": self.head_dim}
        if isinstance(self.position, OffsetTable):
            return own | self.position.sizes(self.window)
        return own | (self.position.sizes() if self.position is not None else {})

    def part(self, grid: Grid) -> Grid:
        """A window on this map: no side longer than the map's."""
        return Grid(min(self.window, grid.rows), min(self.window, grid.columns))

    def steps(self, grid: Grid) -> tuple[int, int]:
        """How far the windows of a shifted block are moved on this map, down and to the right."""
        step = self.window // 2
        return (step if grid.rows > self.window else 0, step if grid.columns > self.window else 0)

    def windows(self, grid: Grid) -> int:
        """How many windows the map has once it is filled up."""
        part = self.part(grid)
        return -(-grid.rows // part.rows) * -(-grid.columns // part.columns)

    def macs(self, embed: int, grid: Grid) -> int:
        width, part = self.heads * self.head_dim, self.part(grid)
        tokens, alone = part.patches, 0
        each = tokens * width * (4 * embed + 2 * tokens)
        if self.mix is not None:
            each += len(self.mix.places) * self.heads**2 * tokens**2
        if isinstance(self.position, ContinuousPosition):
            alone = self.position.macs(self.heads, part)
        elif isinstance(self.position, ImageRelativePosition):
            each += self.position.macs(width, part)
        return self.windows(grid) * each + alone

    def working_set(self, embed: int, grid: Grid) -> int:
        width, part = self.heads * self.head_dim, self.part(grid)
        tokens, maps = part.patches, 2 if self.mix is not None else 1
        each = tokens * (embed + 4 * width) + maps * self.heads * tokens**2
        if isinstance(self.position, ImageRelativePosition):
            each += self.position.working_set(self.heads, part)
        return self.windows(grid) * each
