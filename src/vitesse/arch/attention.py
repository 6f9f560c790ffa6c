"""Multi-head self-attention as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from vitesse.arch.choice import QUIET, among, every, instances, require
from vitesse.arch.mixing import HeadMix
from vitesse.arch.operation import Grid, LayerNorm, Operation, Role
from vitesse.arch.position import ImageRelativePosition, RelativePosition


@dataclass(frozen=True, kw_only=True, slots=True)
class Attention(Operation):
    """Multi-head self-attention: softmax(q k^T / sqrt(head_dim)) v, each head `head_dim` wide, whatever the embedding.

    `bias="packed"` is the published AutoFormer's: a smaller network takes the first entries of the joined q, k, v bias,
    so that entries change their role with the number of heads. It is there to load old weights; train with True.
    `mix` maps the heads onto each other around the softmax; the attention is then no longer a fused one.
    """

    roles: ClassVar[Mapping[str, Role]] = {
        "q_norm": "norm",
        "k_norm": "norm",
        "position": "position",
        "mix": "transform",
    }

    heads: int
    head_dim: int = 64
    bias: bool | Literal["packed"] = True
    qk_norm: bool = False
    position: RelativePosition | ImageRelativePosition | None = None
    mix: HeadMix | None = field(default=None, metadata=QUIET)
    layer_scale: bool = False
    norm: LayerNorm | None = LayerNorm()

    def __post_init__(self) -> None:
        require(
            self,
            heads=(every(self.heads, int, 1), "must be an integer of at least 1"),
            head_dim=(every(self.head_dim, int, 1), "must be an integer of at least 1"),
            bias=(among(self.bias, True, False, "packed"), 'must be True, False or "packed"'),
            qk_norm=(among(self.qk_norm, True, False), "must be True or False"),
            position=(
                instances(self.position, RelativePosition, ImageRelativePosition, type(None)),
                "must be a RelativePosition, an ImageRelativePosition or None",
            ),
            mix=(instances(self.mix, HeadMix, type(None)), "must be a HeadMix or None"),
            layer_scale=(among(self.layer_scale, True, False), "must be True or False"),
            norm=(instances(self.norm, LayerNorm, type(None)), "must be a LayerNorm or None"),
        )

    def axes(self) -> dict[str, str]:
        axes = {"qkv.weight": "three heads head_dim, embed", "proj.weight": "embed, heads head_dim"}
        if self.bias:
            axes["qkv.bias"] = "packed" if self.bias == "packed" else "three heads head_dim"
        axes["proj.bias"] = "embed"
        if self.qk_norm:
            axes |= {f"{side}_norm.{part}": "head_dim" for side in "qk" for part in ("weight", "bias")}
        if self.position is not None:
            axes |= {f"position.{name}": shape for name, shape in self.position.axes().items()}
        if self.mix is not None:
            axes |= {f"mix.{name}": shape for name, shape in self.mix.axes().items()}
        return axes

    def sizes(self, embed: int) -> dict[str, int]:
        width = self.heads * self.head_dim
        sizes = {"embed": embed, "three": 3, "heads": self.heads, "head_dim": self.head_dim, "packed": 3 * width}
        return sizes | (self.position.sizes() if self.position is not None else {})

    def macs(self, embed: int, grid: Grid) -> int:
        width = self.heads * self.head_dim
        projections = grid.tokens * embed * 4 * width
        relative = self.position.macs(width, grid) if self.position is not None else 0
        mixing = len(self.mix.places) * self.heads**2 * grid.tokens**2 if self.mix is not None else 0
        return projections + 2 * grid.tokens**2 * width + relative + mixing

    def working_set(self, embed: int, grid: Grid) -> int:
        width = self.heads * self.head_dim
        relative = self.position.working_set(self.heads, grid) if self.position is not None else 0
        maps = 2 if self.mix is not None else 1  # of the heads, before and behind the mixing
        return grid.tokens * (embed + 4 * width) + maps * self.heads * grid.tokens**2 + relative
