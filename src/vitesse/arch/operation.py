"""What every operation of a block says about itself, so that it can be counted, sliced, searched and built."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from vitesse.arch.choice import Options, every, require

Act = Literal["gelu", "gelu_tanh", "quick_gelu", "relu", "silu"]
ACTIVATIONS: tuple[str, ...] = get_args(Act)
# Of each weight, by its name, what its axes mean: `"three heads head_dim, embed"`; a 1 is a dimension of one entry.
Table = dict[str, str]

# What a parameter is to blocks that share weights: "norm" and "position" may stay each block's own, "transform" always
# does, all else ("weight") is shared.
Role = Literal["weight", "norm", "position", "transform"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerNorm:
    """Layer normalization over the embedding; `eps` is 1e-6 in DeiT and timm, 1e-5 in AutoFormer."""

    eps: float = 1e-6

    def __post_init__(self) -> None:
        require(self, eps=(every(self.eps, float, 1e-12, 1.0), "must be a float between 1e-12 and 1"))


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchNorm:
    """Batch normalization of pooled features, with running statistics."""

    eps: float = 1e-5

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

    def reduced(self, stride: int) -> Grid:
        """The map after a convolution of this stride, padded so that what does not divide is rounded up."""
        return Grid(-(-self.rows // stride), -(-self.columns // stride), self.extra)


class Operation(ABC):
    """One residual branch of a block: an operation on tokens (B, N, embed) with its normalization.

    A new token mixer is one such value, one module in `ops/`, and one line in `nets/branch.py`.
    """

    __slots__ = ()

    norm: LayerNorm | None = None
    """Applied before the operation; None where it has its own."""
    layer_scale: bool = False
    """Whether the branch ends in a learned factor for each channel."""
    roles: ClassVar[Mapping[str, Role]] = {}
    """The role of each of its submodules that is no plain weight, by the submodule's name; a `norm` needs no mention."""
    residual: bool = True
    """Whether its result is added to the stream; else it takes the stream's place."""
    post_norm: bool = False
    """Whether its normalization comes behind it, before the addition (SwinV2), instead of before it."""
    map_only: ClassVar[bool] = False
    """Whether it sees the tokens as a map, so that there can be no extra ones."""

    @property
    def after(self) -> Act | None:
        """The activation that follows the addition."""
        return None

    def at(self, position: int) -> Operation:
        """What it is in the block at this position of its stage; most operations are the same at each."""
        return self

    @classmethod
    def role(cls, module: str) -> Role:
        """What the parameters of one of its modules, named within it ("qkv", "expand.norm"), are to blocks that share."""
        inner: Role = "norm" if module.rpartition(".")[2] == "norm" else "weight"
        return cls.roles.get(module.partition(".")[0], inner)

    @abstractmethod
    def axes(self) -> Table:
        """What the axes of each weight mean: `"three heads head_dim, embed"` is a matrix whose rows are a product."""

    def buffers(self) -> Table:
        """The same for what is stored with the weights but not learned: running statistics."""
        return {}

    @abstractmethod
    def sizes(self, embed: int) -> dict[str, int]:
        """The size of each axis named in `axes`, for an embedding of this width."""

    @abstractmethod
    def macs(self, embed: int, grid: Grid) -> int:
        """Multiply-adds of its convolutions and matrix products for one image."""

    @abstractmethod
    def working_set(self, embed: int, grid: Grid) -> int:
        """The most elements of its own that are alive at once for one image, beside the residual stream."""


class Down(ABC):
    """What leads into a stage before its first block: from the width of the stage before to its own, to a smaller map.

    In `axes` the kinds `previous` and `embed` are the streams of the two stages; all else is its own.
    """

    __slots__ = ()

    stride: int = 2
    """How many times smaller each side of the map becomes; what does not divide is rounded up."""

    def grid(self, before: Grid) -> Grid:
        """The map that it makes of a map."""
        return before.reduced(self.stride)

    @abstractmethod
    def axes(self) -> Table:
        """As of an operation."""

    def buffers(self) -> Table:
        """As of an operation."""
        return {}

    @abstractmethod
    def sizes(self, previous: int, embed: int) -> dict[str, int]:
        """The size of each axis named in `axes`, from this width to that."""

    @abstractmethod
    def macs(self, previous: int, embed: int, before: Grid) -> int:
        """Multiply-adds of its convolutions and matrix products for one image."""

    @abstractmethod
    def working_set(self, previous: int, embed: int, before: Grid) -> int:
        """The most elements of its own that are alive at once for one image, beside the stream that it takes in."""


def one_ratio(ratio: Any) -> Any:
    """One form for one network: 4 and 4.0 are equal, so they must be written alike too."""
    return Options(tuple(map(float, ratio.options))) if isinstance(ratio, Options) else float(ratio)
