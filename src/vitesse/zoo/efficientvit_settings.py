"""The settings of the published EfficientViT code, read and checked before anything is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from vitesse.arch import Backbone
from vitesse.errors import VitesseError
from vitesse.zoo.efficientvit import STRIDE, clamped, efficientvit

# How weights are found and held, which changes no output.
_APART = frozenset({"pretrained", "pretrained_cfg", "fuse"})


@dataclass(frozen=True, kw_only=True, slots=True)
class EfficientViTSettings:
    """The arguments of the published constructors with their defaults.

    `frozen_stages` is the detector's alone: its backbone has no head, and windows of `window_size` however small the map.
    """

    img_size: int | tuple[int, int] = 224
    patch_size: int = STRIDE
    in_chans: int = 3
    num_classes: int = 1000
    stages: tuple[str, ...] = ("s", "s", "s")
    embed_dim: tuple[int, ...] = (64, 128, 192)
    key_dim: tuple[int, ...] = (16, 16, 16)
    depth: tuple[int, ...] = (1, 2, 3)
    num_heads: tuple[int, ...] = (4, 4, 4)
    window_size: tuple[int, ...] = (7, 7, 7)
    kernels: tuple[int, ...] = (5, 5, 5, 5)
    down_ops: tuple[tuple[Any, ...], ...] = (("subsample", 2), ("subsample", 2), ("",))
    distillation: bool = False
    frozen_stages: int | None = None

    def __post_init__(self) -> None:
        lists = {name: getattr(self, name) for name in ("embed_dim", "key_dim", "depth", "num_heads", "window_size")}
        if len({len(one) for one in lists.values()}) != 1 or not self.depth:
            told = ", ".join(f"{name}={one}" for name, one in lists.items())
            raise VitesseError(f"EfficientViT has one value of each kind for each stage, but got {told}.")
        steps = [tuple(step) for step in self.down_ops[: len(self.depth) - 1]]
        for what, holds in {
            f"patches of {STRIDE} pixels": self.patch_size == STRIDE,
            'stages of the kind "s"': set(self.stages) == {"s"},
            '("subsample", 2) between its stages': all(step == ("subsample", 2) for step in steps),
            "a kernel for each head": len(self.kernels) >= max(self.num_heads),
        }.items():
            if not holds:
                raise VitesseError(
                    f"EfficientViT has {what}, but got patch_size={self.patch_size}, stages={self.stages}, "
                    f"down_ops={self.down_ops}, kernels={self.kernels}, num_heads={self.num_heads}."
                )

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> EfficientViTSettings:
        """The settings in `config`; VitesseError where one is unknown, impossible or not supported."""
        known = {item.name for item in fields(cls)}
        given = {name: value for name, value in config.items() if value is not None and name not in _APART}
        unknown = sorted(set(given) - known)
        if unknown:
            raise VitesseError(f"EfficientViT has no setting {', '.join(unknown)}. It has {', '.join(sorted(known))}.")
        given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
        stages = len(given.get("depth", (1, 2, 3)))
        # The published defaults are for three stages, and say the same of each.
        given = {"stages": ("s",) * stages, "key_dim": (16,) * stages, "window_size": (7,) * stages} | given
        given.setdefault("down_ops", (("subsample", 2),) * (stages - 1))
        return cls(**given)

    @property
    def detector(self) -> bool:
        """Whether these are the settings of the published detector's backbone."""
        return self.frozen_stages is not None

    def arch(self) -> Backbone:
        """The network as the published code builds it; VitesseError where there is none of these sizes."""
        image = (self.img_size, self.img_size) if isinstance(self.img_size, int) else self.img_size
        try:
            return efficientvit(
                dims=self.embed_dim,
                depths=self.depth,
                heads=self.num_heads,
                kernels=self.kernels,
                windows=self.window_size if self.detector else clamped(self.window_size, image),
                classes=0 if self.detector else self.num_classes,
                image=image,
                key_dims=self.key_dim,
                channels=self.in_chans,
                distilled=self.distillation and not self.detector,
            )
        except (TypeError, ValueError) as error:
            raise VitesseError(f"EfficientViT cannot be made with these settings: {error}") from error
