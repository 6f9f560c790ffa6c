"""The settings of the published AutoFormer code, read and checked before anything is made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from vitesse.errors import VitesseError

# Settings of training that change no output of a trained network.
_TRAINING = frozenset({"qk_scale", "drop_rate", "attn_drop_rate"})


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoFormerSettings:
    """The arguments of the published constructor with its defaults, and the `choices` beside them."""

    img_size: tuple[int, int] = (224, 224)
    patch_size: tuple[int, int] = (16, 16)
    in_chans: int = 3
    num_classes: int = 1000
    embed_dim: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_ratio: float = 4.0
    qkv_bias: bool = False
    gp: bool = False
    change_qkv: bool = False
    relative_position: bool = False
    max_relative_position: int = 14
    abs_pos: bool = True
    pre_norm: bool = True
    scale: bool = False
    drop_path_rate: float = 0.0
    choices: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        low = {name: getattr(self, name) for name in ("in_chans", "embed_dim", "depth", "num_heads", "mlp_ratio")}
        wrong = [f"{name}={value!r}" for name, value in low.items() if not _number(value) or value <= 0]
        if wrong:
            raise VitesseError(f"AutoFormer's sizes must be positive numbers, but got {', '.join(wrong)}.")
        if not self.pre_norm or self.scale:
            raise VitesseError(
                f"AutoFormer is supported as it was published, pre_norm=True and scale=False, but got "
                f"pre_norm={self.pre_norm}, scale={self.scale}. No released weights use these settings."
            )
        if self.relative_position and self.grid[0] != self.grid[1]:
            raise VitesseError(
                f"The published relative positions are wrong off square maps, but this one is {self.grid}. "
                "Take a square image, or relative_position=False."
            )
        if self.embed_dim % self.num_heads and not self.change_qkv:
            raise VitesseError(f"num_heads must divide embed_dim, but got {self.num_heads} and {self.embed_dim}.")
        if self.change_qkv and self.relative_position and self.embed_dim // self.num_heads < self.head_dim:
            raise VitesseError(
                f"With change_qkv a head is {self.head_dim} wide, but the relative tables are embed_dim / num_heads = "
                f"{self.embed_dim} / {self.num_heads} wide. The published code fails too."
            )

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> AutoFormerSettings:
        """The settings in `config`; VitesseError where one is unknown, impossible or not supported."""
        known = {item.name for item in fields(cls)}
        given = {name: value for name, value in config.items() if value is not None and name not in _TRAINING}
        unknown = sorted(set(given) - known)
        if unknown:
            raise VitesseError(f"AutoFormer has no setting {', '.join(unknown)}. It has {', '.join(sorted(known))}.")
        for name in ("img_size", "patch_size"):
            if name in given:
                given[name] = _pair(name, given[name])
        settings = cls(**given)
        settings._check_choices()
        return settings

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.img_size[0] // self.patch_size[0], self.img_size[1] // self.patch_size[1]

    @property
    def head_dim(self) -> int:
        """The width of a head: 64 with `change_qkv`, whatever the embedding."""
        return 64 if self.change_qkv else self.embed_dim // self.num_heads

    @property
    def heads(self) -> int:
        """How many heads the stored q, k, v weights hold."""
        return self.embed_dim // self.head_dim

    def options(self, name: str) -> list[Any]:
        """What `embed_dim`, `depth`, `num_heads` or `mlp_ratio` may be: the choices, else the constructor's value."""
        values = list(self.choices.get(name, [getattr(self, name)]))
        return [float(value) for value in values] if name == "mlp_ratio" else values

    def sampled(self, sampled: Mapping[str, Any]) -> tuple[int, list[int], list[float]]:
        """Width, heads of each block and MLP ratio of each block of a sampled network, checked against the storage."""
        names = {"layer_num", "embed_dim", "num_heads", "mlp_ratio"}
        if set(sampled) != names:
            raise VitesseError(f"A sampled AutoFormer has {', '.join(sorted(names))}, but got {sorted(sampled)}.")
        depth = sampled["layer_num"]
        if not isinstance(depth, int) or not 1 <= depth <= self.depth:
            raise VitesseError(f"layer_num must be an integer from 1 to {self.depth}, but got {depth!r}.")
        widths, heads, ratios = (list(sampled[name]) for name in ("embed_dim", "num_heads", "mlp_ratio"))
        counts = [len(widths), len(heads), len(ratios)]
        if counts != [depth] * 3:
            raise VitesseError(
                f"embed_dim, num_heads and mlp_ratio must hold one value for each of the {depth} layers, "
                f"but hold {counts}."
            )
        if len(set(widths)) != 1:
            raise VitesseError(f"All layers must have one embed_dim, but got {widths}.")
        self._check_held(widths[:1], heads, ratios)
        return widths[0], heads, [float(ratio) for ratio in ratios]

    def _check_choices(self) -> None:
        names = {"embed_dim", "depth", "num_heads", "mlp_ratio"}
        wrong = [name for name in self.choices if name not in names or not self.choices[name]]
        if wrong:
            raise VitesseError(f"choices may list {', '.join(sorted(names))}, each at least once, but got {wrong}.")
        depths = self.options("depth")
        if not all(isinstance(depth, int) and 1 <= depth <= self.depth for depth in depths):
            raise VitesseError(f"A depth must be an integer from 1 to {self.depth}, but the choices are {depths}.")
        if self.choices:
            self._check_held(self.options("embed_dim"), self.options("num_heads"), self.options("mlp_ratio"))

    def _check_held(self, widths: Sequence[Any], heads: Sequence[Any], ratios: Sequence[Any]) -> None:
        """Raise where a smaller network of these values is no slice of what is stored."""
        stored = int(self.embed_dim * self.mlp_ratio)
        for name, values, most in (("embed_dim", widths, self.embed_dim), ("num_heads", heads, self.heads)):
            if not all(type(value) is int and 1 <= value <= most for value in values):
                raise VitesseError(f"{name} must be an integer from 1 to the stored {most}, but got {list(values)}.")
        if not all(_number(ratio) and 1 <= int(width * ratio) <= stored for ratio in ratios for width in widths):
            raise VitesseError(
                f"mlp_ratio times embed_dim must lie between 1 and the stored {stored}, but got the ratios "
                f"{list(ratios)} with the widths {list(widths)}."
            )
        if not self.change_qkv and (set(widths) != {self.embed_dim} or set(heads) != {self.num_heads}):
            raise VitesseError(
                "Without change_qkv neither embed_dim nor num_heads can be smaller than stored, "
                f"{self.embed_dim} and {self.num_heads}: the published code fails there. Set change_qkv=True."
            )


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _pair(name: str, value: Any) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or not all(isinstance(side, int) and side > 0 for side in pair):
        raise VitesseError(f"{name} must be one positive integer or two, but got {value!r}.")
    return pair
