"""What blocks that share their weights may each have of their own, so that they can differ (MiniViT, CVPR 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from vitesse.arch.choice import among, every, instances, options, require
from vitesse.arch.operation import Grid, LayerNorm, Operation, Role


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadMix:
    """Linear maps over the heads of the attention, `before` and `after` its softmax, each block's own (MiniViT,
    arXiv 2204.07154; as talking heads, Shazeer et al. 2020).

    Head h becomes the sum over heads n of weight[h, n] times head n, plus bias[h]. They begin as the identity and so do
    nothing; the published Mini-DeiT begins them normal with deviation 0.02.
    """

    before: bool = True
    after: bool = True
    bias: bool = False

    def __post_init__(self) -> None:
        none = False in options(self.before) and False in options(self.after)
        require(
            self,
            before=(among(self.before, True, False), "must be True or False"),
            after=(among(self.after, True, False), "must be True or False"),
            bias=(among(self.bias, True, False), "must be True or False"),
        )
        if none:
            raise ValueError(
                f"A HeadMix mixes before or after the softmax, but got before={self.before!r}, after={self.after!r}. "
                "Leave it out (mix=None) where there is nothing to mix."
            )

    @property
    def places(self) -> tuple[str, ...]:
        """Where it mixes: "before", "after" or both."""
        return tuple(place for place in ("before", "after") if getattr(self, place))

    def axes(self) -> dict[str, str]:
        axes = {f"{place}.weight": "heads, heads" for place in self.places}
        return axes | ({f"{place}.bias": "heads" for place in self.places} if self.bias else {})


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalMix(Operation):
    """A depthwise convolution over the map of patches, each block's own (the MLP's transformation of MiniViT).

    Extra tokens pass untouched. It begins at zero and so does nothing; Mini-Swin begins it as convolutions usually begin.
    """

    roles: ClassVar[Mapping[str, Role]] = {"conv": "transform"}

    kernel: int = 7
    layer_scale: bool = False
    norm: LayerNorm | None = LayerNorm()

    def __post_init__(self) -> None:
        odd = every(self.kernel, int, 1) and all(size % 2 for size in options(self.kernel))
        require(
            self,
            kernel=(odd, "must be an odd integer of at least 1"),
            layer_scale=(among(self.layer_scale, True, False), "must be True or False"),
            norm=(instances(self.norm, LayerNorm, type(None)), "must be a LayerNorm or None"),
        )

    def axes(self) -> dict[str, str]:
        return {"conv.weight": "embed, 1, kernel, kernel", "conv.bias": "embed"}

    def sizes(self, embed: int) -> dict[str, int]:
        return {"embed": embed, "kernel": self.kernel}

    def macs(self, embed: int, grid: Grid) -> int:
        return grid.patches * embed * self.kernel**2

    def working_set(self, embed: int, grid: Grid) -> int:
        return 3 * grid.tokens * embed


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalTransform(Operation):
    """t + conv(t) with t the normalized stream, in the stream's place: the transformation of the published Mini-Swin.

    Its norm and its depthwise convolution are each block's own. What was not normalized is lost.
    """

    map_only: ClassVar[bool] = True
    residual = False  # its result takes the stream's place
    roles: ClassVar[Mapping[str, Role]] = {"norm": "transform", "conv": "transform"}

    kernel: int = 7
    bias: bool = True
    inner_norm: LayerNorm = LayerNorm(eps=1e-5)

    def __post_init__(self) -> None:
        odd = every(self.kernel, int, 1) and all(size % 2 for size in options(self.kernel))
        require(
            self,
            kernel=(odd, "must be an odd integer of at least 1"),
            bias=(among(self.bias, True, False), "must be True or False"),
            inner_norm=(instances(self.inner_norm, LayerNorm), "must be a LayerNorm"),
        )

    def axes(self) -> dict[str, str]:
        axes = {"norm.weight": "embed", "norm.bias": "embed", "conv.weight": "embed, 1, kernel, kernel"}
        return axes | ({"conv.bias": "embed"} if self.bias else {})

    def sizes(self, embed: int) -> dict[str, int]:
        return {"embed": embed, "kernel": self.kernel}

    def macs(self, embed: int, grid: Grid) -> int:
        return grid.patches * embed * self.kernel**2

    def working_set(self, embed: int, grid: Grid) -> int:
        return 2 * grid.tokens * embed
