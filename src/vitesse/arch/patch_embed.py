"""The stem of a plain ViT as a value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from vitesse.arch.choice import QUIET, among, every, has_choice, instances, require
from vitesse.arch.operation import Grid, LayerNorm, Table


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchEmbed:
    """The stem of a plain ViT: patches to tokens by one strided convolution, extra tokens before them, positions added.

    `image` and `patch` are (height, width) in pixels; one integer stands for a square. `tokens` names the extra tokens:
    "class", "distillation", "register". `position` says what carries a learned absolute position: "all" tokens (ViT),
    the "patches" only (DeiT III), or "none". `norm` follows the embedding (CLIP); `norm_first`
    puts it before tokens and positions join (Swin).
    """

    first_conv: ClassVar[str] = "stem.proj"

    image: tuple[int, int] = (224, 224)
    patch: tuple[int, int] = (16, 16)
    channels: int = 3
    bias: bool = True
    tokens: tuple[str, ...] = ("class",)
    position: Literal["all", "patches", "none"] = "all"
    norm: LayerNorm | None = None
    norm_first: bool = field(default=False, metadata=QUIET)

    def __post_init__(self) -> None:
        for name in ("image", "patch"):
            value: Any = getattr(self, name)
            if isinstance(value, int):
                object.__setattr__(self, name, (value, value))
            elif isinstance(value, list):
                object.__setattr__(self, name, tuple(value))
            pair = getattr(self, name)
            good = isinstance(pair, tuple) and len(pair) == 2 and all(every(side, int, 1) for side in pair)
            good = good and not has_choice(pair)
            require(self, **{name: (good, "must be one integer or (height, width), each at least 1, and no Choice")})
        if isinstance(self.tokens, list):
            object.__setattr__(self, "tokens", tuple(self.tokens))
        divides = all(side % step == 0 for side, step in zip(self.image, self.patch, strict=True))
        require(
            self,
            image=(divides, f"must be a multiple of the patch {self.patch}"),
            channels=(every(self.channels, int, 1), "must be an integer of at least 1"),
            bias=(among(self.bias, True, False), "must be True or False"),
            tokens=(
                isinstance(self.tokens, tuple)
                and all(among(token, "class", "distillation", "register") for token in self.tokens)
                and not has_choice(self.tokens),
                'must be a tuple of "class", "distillation" and "register"',
            ),
            position=(among(self.position, "all", "patches", "none"), 'must be "all", "patches" or "none"'),
            norm=(instances(self.norm, LayerNorm, type(None)), "must be a LayerNorm or None"),
            norm_first=(among(self.norm_first, True, False), "must be True or False"),
        )

    @property
    def reduction(self) -> tuple[int, int]:
        """Pixels to a token, down and across."""
        return self.patch

    @property
    def grid(self) -> Grid:
        """The tokens that it makes."""
        rows, columns = (side // step for side, step in zip(self.image, self.patch, strict=True))
        return Grid(rows, columns, len(self.tokens))

    @property
    def positions(self) -> int:
        """How many tokens carry a learned absolute position."""
        return {"all": self.grid.tokens, "patches": self.grid.patches, "none": 0}[self.position]

    def axes(self) -> dict[str, str]:
        axes = {"proj.weight": "embed, channels, patch_height, patch_width"}
        if self.bias:
            axes["proj.bias"] = "embed"
        if self.tokens:
            axes["tokens"] = "tokens, embed"
        if self.positions:
            axes["position"] = "positions, embed"
        if self.norm is not None:
            axes |= {"norm.weight": "embed", "norm.bias": "embed"}
        return axes

    def sizes(self, embed: int) -> dict[str, int]:
        return {
            "embed": embed,
            "channels": self.channels,
            "patch_height": self.patch[0],
            "patch_width": self.patch[1],
            "tokens": len(self.tokens),
            "positions": self.positions,
        }

    def macs(self, embed: int) -> int:
        return self.grid.patches * embed * self.channels * self.patch[0] * self.patch[1]

    def working_set(self, embed: int) -> int:
        """The most elements that are alive at once for one image."""
        return self.channels * self.image[0] * self.image[1] + self.grid.tokens * embed

    def buffers(self) -> Table:
        """What is stored with the weights but not learned: nothing."""
        return {}
