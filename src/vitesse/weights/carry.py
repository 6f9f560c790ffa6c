"""Carrying weights from one network to another of the same kinds of layers: what both have is taken, the rest stays."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vitesse.arch import Shape
from vitesse.weights.slice import CENTRED, FIXED


@torch.no_grad()
def carry(
    state: Mapping[str, Tensor], shapes: Mapping[str, Shape], to: Mapping[str, Tensor], to_shapes: Mapping[str, Shape]
) -> dict[str, Tensor]:
    """`to` with all that it has in common with `state`: of each axis as many entries as the shorter one has.

    These are the ones that a slice would keep, so that a subnet of both computes the same with both. Tensors that only one
    of them has, and those whose axes mean something else, stay as `to` has them.
    """
    result = {name: tensor.clone() for name, tensor in to.items()}
    for name, shape in to_shapes.items():
        if name in shapes and _alike(shapes[name], shape):
            mine, theirs = _common(shapes[name], shape), _common(shape, shapes[name])
            _parts(result[name], shape)[theirs] = _parts(state[name], shapes[name])[mine].to(result[name].device)
    return result


def _alike(one: Shape, other: Shape) -> bool:
    """Whether the axes mean the same, and those that cannot be cut are as long."""
    first, second = ([axis for dimension in shape for axis in dimension] for shape in (one, other))
    return [axis.kind for axis in first] == [axis.kind for axis in second] and all(
        axis.size == match.size for axis, match in zip(first, second, strict=True) if axis.kind in FIXED
    )


def _common(shape: Shape, other: Shape) -> tuple[slice, ...]:
    """Where in `shape` lies what the other has too, with one slice for each axis."""
    sizes = [axis.size for dimension in other for axis in dimension]
    regions = []
    for axis, size in zip((axis for dimension in shape for axis in dimension), sizes, strict=True):
        kept = min(axis.size, size)
        start = (axis.size - kept) // 2 if axis.kind in CENTRED else 0
        regions.append(slice(start, start + kept))
    return tuple(regions)


def _parts(tensor: Tensor, shape: Shape) -> Tensor:
    """The tensor with one dimension for each axis, a view."""
    return tensor.view([axis.size for dimension in shape for axis in dimension])
