"""The settings of the published Mini-DeiT code, read and checked, and the network that they mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from vitesse.arch import (
    MLP,
    Attention,
    Backbone,
    Block,
    Head,
    HeadMix,
    ImageRelativePosition,
    LayerNorm,
    PatchEmbed,
    Stage,
)
from vitesse.errors import VitesseError
from vitesse.zoo.irpe_tables import position_value

# Settings of training that change no output of a trained network.
_TRAINING = frozenset({"drop_rate", "attn_drop_rate"})


@dataclass(frozen=True, kw_only=True, slots=True)
class MiniDeiTSettings:
    """The arguments of the published constructor with its defaults, and beside them `rpe_config` and `norm_layer`."""

    img_size: int | tuple[int, int] = 224
    patch_size: int | tuple[int, int] = 16
    in_chans: int = 3
    num_classes: int = 1000
    embed_dim: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_ratio: float = 4.0
    qkv_bias: bool = False
    qk_scale: float | None = None
    drop_path_rate: float = 0.0
    hybrid_backbone: object = None
    use_cls_token: bool = True
    repeated_times: int = 1
    use_transform: bool = False
    rpe_config: Mapping[str, Any] | None = None
    norm_layer: str = "LayerNorm"

    def __post_init__(self) -> None:
        if self.hybrid_backbone is not None:
            raise VitesseError("Mini-DeiT is supported as it was published, without a hybrid_backbone. Leave it out.")
        if self.repeated_times < 2:
            raise VitesseError(
                f"repeated_times must be at least 2, but got {self.repeated_times}: the published code has no norms then "
                "and cannot run. For a network without sharing take Stage(share=1)."
            )
        if self.embed_dim % self.num_heads or self.depth % self.repeated_times:
            raise VitesseError(
                f"num_heads must divide embed_dim and repeated_times the depth, but got {self.num_heads} and "
                f"{self.embed_dim}, {self.repeated_times} and {self.depth}."
            )
        if self.qk_scale not in (None, 0.0) and abs(self.qk_scale * self.head_dim**0.5 - 1) > 1e-9:
            raise VitesseError(
                f"Queries are scaled by 1 / sqrt(head width), but qk_scale is {self.qk_scale}. Fold the difference into the "
                "query weights and leave qk_scale out."
            )

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> MiniDeiTSettings:
        """The settings in `config`; VitesseError where one is unknown, impossible or not supported."""
        known = {item.name for item in fields(cls)}
        given = {name: value for name, value in config.items() if value is not None and name not in _TRAINING}
        unknown = sorted(set(given) - known)
        if unknown:
            raise VitesseError(f"Mini-DeiT has no setting {', '.join(unknown)}. It has {', '.join(sorted(known))}.")
        return cls(**given)

    @property
    def head_dim(self) -> int:
        """The width of a head."""
        return self.embed_dim // self.num_heads


def arch_of(settings: MiniDeiTSettings) -> Backbone:
    """The network that the published code builds; VitesseError where it cannot be made."""
    norm = layer_norm(settings.norm_layer)
    try:
        attention = Attention(
            heads=settings.num_heads,
            head_dim=settings.head_dim,
            bias=settings.qkv_bias,
            position=_position(settings),
            mix=HeadMix() if settings.use_transform else None,
            norm=norm,
        )
        hidden = int(settings.embed_dim * settings.mlp_ratio)
        mlp = MLP(ratio=hidden / settings.embed_dim, norm=norm)
        return Backbone(
            stem=PatchEmbed(
                image=pair(settings.img_size),
                patch=pair(settings.patch_size),
                channels=settings.in_chans,
                tokens=("class",) if settings.use_cls_token else (),
            ),
            stages=(
                Stage(
                    dim=settings.embed_dim,
                    depth=settings.depth,
                    block=Block(attention, mlp),
                    share=settings.repeated_times,
                ),
            ),
            head=Head(classes=settings.num_classes, pool="class" if settings.use_cls_token else "mean", norm=norm),
        )
    except ValueError as error:
        raise VitesseError(f"This Mini-DeiT cannot be made: {error}") from error


def _position(settings: MiniDeiTSettings) -> ImageRelativePosition | None:
    """What `rpe_config` says."""
    if settings.rpe_config is None:
        return None
    config = {"on": "k", **{("on" if name == "rpe_on" else name): item for name, item in settings.rpe_config.items()}}
    value = position_value(config)
    before = int(settings.use_cls_token)
    if config.get("skip", 0) != before:
        raise VitesseError(
            f"rpe_config's skip is the number of tokens before the patches, {before} here, but got {config.get('skip', 0)!r}."
        )
    return value


def layer_norm(text: str) -> LayerNorm:
    """`LayerNorm(eps=1e-6)` as a value; the eps of PyTorch where none is named."""
    found = re.fullmatch(r"LayerNorm(?:\(\s*(?:eps\s*=\s*([0-9.eE+-]+))?\s*\))?", text.strip())
    if found is None:
        raise VitesseError(f'norm_layer must read like "LayerNorm(eps=1e-6)", but got {text!r}.')
    return LayerNorm(eps=float(found[1] or 1e-5))


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width) of a size that may be one integer for a square."""
    if isinstance(value, int):
        return (value, value)
    height, width = value
    return (height, width)
