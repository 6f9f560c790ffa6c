"""What every operation of a block says about itself, so that it can be counted, sliced, searched and built."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from vitesse.arch.choice import every, require

# What a parameter is to blocks that share weights: "norm" and "position" may stay each block's own, "transform" always
# does, all else ("weight") is shared.
Role = Literal["weight", "norm", "position", "transform"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerNorm:
    """Layer normalization over the embedding; `eps` is 1e-6 in DeiT and timm, 1e-5 in AutoFormer."""

    eps: float = 1e-6

    def __post_init__(self) -> None:
        require(self, eps=(every(self.eps, float, 1e-12, 1.0), "must be a float between 1e-12 and 1"))


@dataclass(frozen=True, slots=True)
class Grid:
    """The tokens that an operation sees: a map of rows x columns patches, behind `extra` tokens (class, registers)."""

    rows: int
    columns: int
    extra: int = 0

    @property
    def patches(self) -> int:
        return self.rows * self.columns

    @property
    def tokens(self) -> int:
        return self.patches + self.extra


class Operation(ABC):
    """One residual branch of a block: an operation on tokens (B, N, embed) with its normalization.

    A new token mixer is one such value, one module in `ops/`, and one line in `nets/branch.py`.
    """

    __slots__ = ()

    norm: LayerNorm | None
    """Applied before the operation; None where it has its own."""
    layer_scale: bool
    """Whether the branch ends in a learned factor for each channel."""
    roles: ClassVar[Mapping[str, Role]] = {}
    """The role of each of its submodules that is no plain weight, by the submodule's name."""

    @abstractmethod
    def axes(self) -> dict[str, str]:
        """What the axes of each weight mean: `"three heads head_dim, embed"` is a matrix whose rows are a product."""

    @abstractmethod
    def sizes(self, embed: int) -> dict[str, int]:
        """The size of each axis named in `axes`, for an embedding of this width."""

    @abstractmethod
    def macs(self, embed: int, grid: Grid) -> int:
        """Multiply-adds of its convolutions and matrix products for one image."""

    @abstractmethod
    def working_set(self, embed: int, grid: Grid) -> int:
        """The most elements of its own that are alive at once for one image, beside the residual stream."""
