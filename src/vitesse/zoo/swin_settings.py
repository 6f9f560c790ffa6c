"""The settings of the published S3 (AutoFormerV2) and Mini-Swin code, read and checked, and the networks they mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from vitesse.arch import Backbone, HeadMix, LayerNorm, PatchEmbed
from vitesse.errors import VitesseError
from vitesse.zoo.autoformer import exact_ratio
from vitesse.zoo.minideit_settings import layer_norm, pair
from vitesse.zoo.swin import grids, mini_swin_block, swin, swin_block, window_on

# Settings of training that change no output of a trained network.
_TRAINING = frozenset({"drop_rate", "attn_drop_rate", "use_checkpoint"})
S = TypeVar("S", bound="SwinSettings")


@dataclass(frozen=True, kw_only=True, slots=True)
class SwinSettings:
    """The arguments that both published constructors have, with their defaults, and beside them `norm_layer`."""

    img_size: int | tuple[int, int] = 224
    patch_size: int | tuple[int, int] = 4
    in_chans: int = 3
    num_classes: int = 1000
    depths: tuple[int, ...] = (2, 2, 6, 2)
    qkv_bias: bool = True
    qk_scale: float | None = None
    drop_path_rate: float = 0.1
    ape: bool = False
    patch_norm: bool = True
    norm_layer: str = "LayerNorm"

    @classmethod
    def read(cls: type[S], config: Mapping[str, Any]) -> S:
        """The settings in `config`; VitesseError where one is unknown, impossible or not supported."""
        known = {item.name for item in fields(cls)}
        given = {name: _tuples(value) for name, value in config.items() if value is not None and name not in _TRAINING}
        unknown = sorted(set(given) - known)
        if unknown:
            raise VitesseError(f"{cls.__name__} has no {', '.join(unknown)}. It has {', '.join(sorted(known))}.")
        return cls(**given)

    @property
    def norm(self) -> LayerNorm:
        return layer_norm(self.norm_layer)

    def stem(self) -> PatchEmbed:
        """Patches, normalized where `patch_norm` says so; positions join afterwards (`ape`)."""
        return PatchEmbed(
            image=pair(self.img_size),
            patch=pair(self.patch_size),
            channels=self.in_chans,
            tokens=(),
            position="patches" if self.ape else "none",
            norm=self.norm if self.patch_norm else None,
            norm_first=self.patch_norm,
        )

    def require_lengths(self, **lists: Sequence[Any]) -> None:
        """Raise VitesseError unless each list has one entry a stage, of which there is one at least."""
        for name, one in lists.items():
            if len(one) != len(self.depths) or not one:
                raise VitesseError(f"There is one of {name} for each of the depths {self.depths}, but got {one}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoFormerV2Settings(SwinSettings):
    """The arguments of the published S3 network; heads, windows and ratios are lists of one for each block of a stage."""

    embed_dim: tuple[int, ...] = (96, 192, 384, 768)
    num_heads: tuple[tuple[int, ...], ...] = ((3,) * 2, (6,) * 2, (12,) * 6, (24,) * 2)
    window_size: tuple[tuple[int, ...], ...] = ((7,) * 2, (7,) * 2, (7,) * 6, (7,) * 2)
    mlp_ratio: tuple[tuple[float, ...], ...] = ((4.0,) * 2, (4.0,) * 2, (4.0,) * 6, (4.0,) * 2)

    def __post_init__(self) -> None:
        lists = {"num_heads": self.num_heads, "window_size": self.window_size, "mlp_ratio": self.mlp_ratio}
        self.require_lengths(embed_dim=self.embed_dim, **lists)
        for name, stages in lists.items():
            for depth, one in zip(self.depths, stages, strict=True):
                if not isinstance(one, tuple) or len(one) < depth:  # the published lists may be longer
                    raise VitesseError(f"{name} lists one value for each block of a stage, but got {one} for {depth}.")
        for dim, heads, depth in zip(self.embed_dim, self.num_heads, self.depths, strict=True):
            if any(32 * count != dim for count in heads[:depth]):
                raise VitesseError(f"The published heads are 32 wide and fill the width, but got {heads} and {dim}.")
        if self.ape:
            raise VitesseError("The published S3 cannot be made with absolute positions. Leave ape out.")

    def arch(self) -> Backbone:
        """The network as the published code builds it; VitesseError where there is none of these sizes."""
        return _made(self._arch, "S3 (AutoFormerV2)")

    def _arch(self) -> Backbone:
        stem = self.stem()
        maps = grids(stem.grid, len(self.depths))
        blocks = []
        for s, (dim, depth) in enumerate(zip(self.embed_dim, self.depths, strict=True)):
            each = zip(self.num_heads[s], self.window_size[s], self.mlp_ratio[s], strict=False)
            stage = (
                swin_block(
                    window_on(window, maps[s], heads=heads, head_dim=32, bias=self.qkv_bias),
                    ratio=exact_ratio(ratio, dim),
                    norm=self.norm,
                )
                for heads, window, ratio in each
            )
            blocks.append(tuple(stage)[:depth])
        return swin(
            stem=stem, dims=self.embed_dim, depths=self.depths, blocks=blocks, classes=self.num_classes, norm=self.norm
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class MiniSwinSettings(SwinSettings):
    """The arguments of the published Mini-Swin network, `is_student` and `fit_size_C` of its student included."""

    embed_dim: int = 96
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    window_size: int = 7
    mlp_ratio: float = 4.0
    separate_layer_num_list: tuple[int, ...] = (1, 1, 2, 1)
    is_sep_layernorm: bool = False
    is_transform_FFN: bool = False  # noqa: N815 - as published
    is_transform_heads: bool = False
    is_student: bool = False
    fit_size_C: int = 128  # noqa: N815 - as published

    def __post_init__(self) -> None:
        self.require_lengths(num_heads=self.num_heads, separate_layer_num_list=self.separate_layer_num_list)
        for dim, heads in zip(self.dims, self.num_heads, strict=True):
            if heads < 1 or dim % heads:
                raise VitesseError(f"The heads must divide the width of their stage, but got {heads} and {dim}.")
        for depth, groups in zip(self.depths, self.separate_layer_num_list, strict=True):
            if not 1 <= groups <= depth:
                raise VitesseError(f"A stage has 1 to {depth} groups of blocks, but separate_layer_num is {groups}.")

    @property
    def dims(self) -> tuple[int, ...]:
        return tuple(self.embed_dim * 2**s for s in range(len(self.depths)))

    @property
    def shares(self) -> tuple[int, ...]:
        """How many blocks of each stage share their weights."""
        return tuple(depth // groups for depth, groups in zip(self.depths, self.separate_layer_num_list, strict=True))

    def arch(self) -> Backbone:
        """The network as the published code builds it; VitesseError where there is none of these sizes."""
        return _made(self._arch, "Mini-Swin")

    def _arch(self) -> Backbone:
        stem = self.stem()
        maps = grids(stem.grid, len(self.depths))
        for grid in maps:
            if self.window_size > min(grid.rows, grid.columns):
                raise ValueError(f"its windows of {self.window_size} must fit each map, but one is {grid}.")
        blocks = []
        for dim, heads, grid in zip(self.dims, self.num_heads, maps, strict=True):
            attention = window_on(
                self.window_size,
                grid,
                heads=heads,
                head_dim=dim // heads,
                bias=self.qkv_bias,
                mix=HeadMix(bias=True) if self.is_transform_heads else None,
                always_masked=True,
            )
            made = mini_swin_block if self.is_transform_FFN else swin_block
            blocks.append(made(attention, ratio=exact_ratio(self.mlp_ratio, dim), norm=self.norm))
        # What is left where the groups do not divide the depth is dropped, as published.
        depths = [share * groups for share, groups in zip(self.shares, self.separate_layer_num_list, strict=True)]
        return swin(
            stem=stem,
            dims=self.dims,
            depths=depths,
            blocks=blocks,
            classes=self.num_classes,
            norm=self.norm,
            shares=self.shares,
            own=("norm",) if self.is_sep_layernorm else (),
        )


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _made(make: Callable[[], Backbone], what: str) -> Backbone:
    try:
        return make()
    except (TypeError, ValueError) as error:
        raise VitesseError(f"{what} cannot be made with these settings: {error}") from error
