"""The slice: the weights of a smaller network cut out of a bigger one's, by the names of their axes."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from vitesse.arch import Axis, Shape
from vitesse.errors import VitesseError

# How an axis that shrinks is cut. Most keep their first entries; a table of distances keeps its centre, distance 0.
CENTRED = frozenset({"reach"})
# Axes of these kinds mean something entry by entry: they cannot be cut at all.
FIXED = frozenset({"three", "table", "tokens", "positions", "channels", "patch_height", "patch_width", "classes"})


def slice_state(state: Mapping[str, Tensor], big: Mapping[str, Shape], small: Mapping[str, Shape]) -> dict[str, Tensor]:
    """The parameters of shapes `small` out of `state`, whose shapes are `big`.

    Views where an axis can be narrowed in place, so that gradients flow into `state`. Raises VitesseError for a
    parameter that `big` lacks, an axis that would have to grow, or one that cannot be cut.
    """
    missing = [name for name in small if name not in big or name not in state]
    if missing:
        raise VitesseError(f"A slice holds only what the bigger network has, but that lacks {', '.join(missing[:5])}.")
    return {name: cut(state[name], big[name], shape, name=name) for name, shape in small.items()}


def cut(tensor: Tensor, big: Shape, small: Shape, *, name: str = "tensor") -> Tensor:
    """One parameter's slice; the tensor's dimensions are those of `big`, the result's those of `small`."""
    if tensor.shape != lengths(big):
        raise VitesseError(
            f"{name} must have the shape {tuple(lengths(big))} of its axes, but has {tuple(tensor.shape)}."
        )
    if _sizes(big) == _sizes(small):
        return tensor
    factors = [axis for dimension in big for axis in dimension]
    targets = [axis for dimension in small for axis in dimension]
    if [axis.kind for axis in factors] != [axis.kind for axis in targets]:
        raise VitesseError(f"{name}: a slice keeps the meaning of axes, but {_text(big)} was to become {_text(small)}.")
    part = tensor if len(factors) == tensor.ndim else tensor.view([axis.size for axis in factors])
    for dimension, (axis, target) in enumerate(zip(factors, targets, strict=True)):
        part = _narrow(part, dimension, axis, target, name)
    return part if len(factors) == tensor.ndim else part.reshape(lengths(small))


def lengths(shape: Shape) -> tuple[int, ...]:
    """The size of each dimension: the product of its axes."""
    return tuple(math.prod(axis.size for axis in dimension) for dimension in shape)


def _narrow(tensor: Tensor, dimension: int, axis: Axis, target: Axis, name: str) -> Tensor:
    if target.size == axis.size:
        return tensor
    if target.size > axis.size or axis.kind in FIXED:
        rule = "cannot be cut" if axis.kind in FIXED else "can only shrink"
        raise VitesseError(f"{name}: the axis {axis.kind} {rule}, but {axis.size} was to become {target.size}.")
    start = (axis.size - target.size) // 2 if axis.kind in CENTRED else 0
    return tensor.narrow(dimension, start, target.size)


def _sizes(shape: Shape) -> list[list[int]]:
    return [[axis.size for axis in dimension] for dimension in shape]


def _text(shape: Shape) -> str:
    return ", ".join(" ".join(f"{axis.kind}={axis.size}" for axis in dimension) for dimension in shape)
