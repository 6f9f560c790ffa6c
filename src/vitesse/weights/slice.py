"""The slice: the weights of a smaller network cut out of a bigger one's, by the names of their axes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vitesse.arch import Axis, Shape
from vitesse.errors import VitesseError

# How an axis that shrinks is cut. Most keep their first entries (a table of unsigned distances, too: the small ones); a
# table of signed distances and a kernel keep their centre.
CENTRED = frozenset({"reach", "kernel"})
# Axes of these kinds mean something entry by entry: they cannot be cut at all.
_COUNTS = {"two", "three", "four", "groups"}
FIXED = frozenset({*_COUNTS, "table", "tokens", "positions", "channels", "patch_height", "patch_width", "classes"})
# How many parts the name of a slot for an operation has: `stages.1.blocks.0.2`, `stages.1.down`.
SLOTS = (5, 3)


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a smaller parameter lies in a bigger one: `region` of the bigger one seen as `factors`, as `shape`."""

    factors: tuple[int, ...]
    region: tuple[slice, ...]
    shape: tuple[int, ...]

    def part(self, tensor: Tensor) -> Tensor:
        """The region, a view, with one dimension for each axis."""
        return tensor.view(self.factors)[self.region]


class Place(NamedTuple):
    """Where a smaller network's parameter lies in a bigger one's: under which name, and in which part of it (None: all)."""

    name: str
    cut: Cut | None


def slice_state(
    state: Mapping[str, Tensor],
    big: Mapping[str, Shape],
    small: Mapping[str, Shape],
    *,
    selection: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Tensor]:
    """The parameters of shapes `small` out of `state`, whose shapes are `big`; gradients flow into `state`.

    Raises VitesseError for a parameter that `big` lacks, an axis that would have to grow, or one that cannot be cut.
    `selection` is that of `selected`, where the bigger network holds several candidates for one place.
    """
    where = places(big, small, selection=selection)
    _require([held for held, _ in where.values() if held not in state])
    for held, _ in where.values():
        if tuple(state[held].shape) != lengths(big[held]):
            raise VitesseError(
                f"{held} must have the shape {lengths(big[held])} of its axes, but has {tuple(state[held].shape)}."
            )
    return take_all(state, where)


def places(
    big: Mapping[str, Shape], small: Mapping[str, Shape], *, selection: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Place]:
    """Where each parameter of `small` lies in `big`, by its name in `small`. Errors and `selection` as `slice_state`."""
    held = {name: _held(name, selection) for name in small} if selection else {name: name for name in small}
    _require([name for name in held.values() if name not in big])
    return {name: Place(held[name], cut(big[held[name]], shape, name=name)) for name, shape in small.items()}


def _held(name: str, selection: Mapping[str, str]) -> str:
    """The name under which the bigger network holds it: a candidate's prefix instead of its slot's."""
    parts = name.split(".")
    for length in SLOTS:
        if (slot := ".".join(parts[:length])) in selection:
            return selection[slot] + name[len(slot) :]
    return name


def _require(missing: list[str]) -> None:
    if missing:
        raise VitesseError(f"A slice holds only what the bigger network has, but that lacks {', '.join(missing[:5])}.")


# A space has few different tensors; a training asks for thousands of networks made of them.
@lru_cache(maxsize=65536)
def cut(big: Shape, small: Shape, *, name: str = "tensor") -> Cut | None:
    """Where one parameter lies in a bigger one; None where it is the whole."""
    factors = [axis for dimension in big for axis in dimension]
    targets = [axis for dimension in small for axis in dimension]
    if [axis.kind for axis in factors] != [axis.kind for axis in targets]:
        raise VitesseError(f"{name}: a slice keeps the meaning of axes, but {_text(big)} was to become {_text(small)}.")
    region = tuple(_range(axis, target, name) for axis, target in zip(factors, targets, strict=True))
    if all(axis.size == target.size for axis, target in zip(factors, targets, strict=True)):
        return None
    return Cut(tuple(axis.size for axis in factors), region, lengths(small))


def take_all(state: Mapping[str, Tensor], where: Mapping[str, Place]) -> dict[str, Tensor]:
    """The parts of `state` that lie at these places."""
    return {name: state[held] if cut is None else take(state[held], cut) for name, (held, cut) in where.items()}


def take(tensor: Tensor, where: Cut) -> Tensor:
    """One parameter's slice: a view where its dimensions are single axes, else a copy; gradients flow back."""
    if tensor.requires_grad and torch.is_grad_enabled():
        taken: Tensor = _Take.apply(tensor, where)
        return taken
    return where.part(tensor).reshape(where.shape)


class _Take(torch.autograd.Function):
    """The slice as one step of autograd: its gradient is written once into zeros, however many axes were cut.

    A chain of views would make and copy a tensor for each axis, and again for the copy of a product of axes.
    """

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, where: Cut) -> Tensor:
        ctx.where, ctx.shape = where, tensor.shape
        return where.part(tensor).reshape(where.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        whole = gradients[0].new_zeros(ctx.shape)
        part = ctx.where.part(whole)
        part.copy_(gradients[0].reshape(part.shape))
        return whole, None


def lengths(shape: Shape) -> tuple[int, ...]:
    """The size of each dimension: the product of its axes."""
    return tuple(math.prod(axis.size for axis in dimension) for dimension in shape)


def _range(axis: Axis, target: Axis, name: str) -> slice:
    if target.size == axis.size:
        return slice(None)
    if target.size > axis.size or axis.kind in FIXED:
        rule = "cannot be cut" if axis.kind in FIXED else "can only shrink"
        raise VitesseError(f"{name}: the axis {axis.kind} {rule}, but {axis.size} was to become {target.size}.")
    start = (axis.size - target.size) // 2 if axis.kind in CENTRED else 0
    return slice(start, start + target.size)


def _text(shape: Shape) -> str:
    return ", ".join(" ".join(f"{axis.kind}={axis.size}" for axis in dimension) for dimension in shape)
