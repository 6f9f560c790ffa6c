"""Reordering: put the most important heads, hidden units and channels first, so that a slice keeps them.

A permutation of an axis in every tensor that carries it changes nothing in what the network computes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vitesse.arch import Shape
from vitesse.errors import VitesseError
from vitesse.weights.slice import lengths

# Axes whose entries are alike, so that their order is free.
KINDS = frozenset({"heads", "hidden", "embed", "channel"})


def importance(
    state: Mapping[str, Tensor], shapes: Mapping[str, Shape], gradients: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """How much each entry of each axis that may be reordered matters, by the axis's name.

    With `gradients` of the loss: |sum of weight * gradient| over all that goes with the entry, the first-order change
    of the loss when it is taken out (Molchanov et al. 2017). Without: the root of the sum of squared weights.
    """
    totals: dict[str, Tensor] = {}
    free = _free(shapes)
    for name, shape in shapes.items():
        weight = _factored(state, name, shape)
        share = weight.square() if gradients is None else weight * _factored(gradients, name, shape)
        axes = [axis for dimension in shape for axis in dimension]
        for position, axis in enumerate(axes):
            if axis.name in free:
                others = [other for other in range(len(axes)) if other != position]
                part = share.sum(others) if others else share
                totals[axis.name] = totals[axis.name] + part if axis.name in totals else part
    return {name: total.sqrt() if gradients is None else total.abs() for name, total in totals.items()}


def most_important_first(scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The order for `reorder`: the indices of each axis by falling score, equal ones as they were."""
    return {name: torch.argsort(score, descending=True, stable=True) for name, score in scores.items()}


def reorder(state: Mapping[str, Tensor], shapes: Mapping[str, Shape], order: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` with the entries of each axis named in `order` in that order, in all tensors that carry the axis.

    Tensors that `shapes` does not name stay as they are. VitesseError for an axis that is not there, whose order means
    something, or for an order that does not name each entry once.
    """
    sizes = {axis.name: axis.size for shape in shapes.values() for dimension in shape for axis in dimension}
    free = _free(shapes)
    for name, indices in order.items():
        if name not in free:
            raise VitesseError(f"The axis {name} cannot be reordered: {_reason(name, sizes)}. Leave it out.")
        if sorted(indices.tolist()) != list(range(sizes[name])):
            raise VitesseError(
                f"The order of {name} must name each of its {sizes[name]} entries once, but got {indices.tolist()}."
            )
    return {
        name: _permuted(tensor, _factored(state, name, shapes[name]), shapes[name], order) if name in shapes else tensor
        for name, tensor in state.items()
    }


def _permuted(tensor: Tensor, factored: Tensor, shape: Shape, order: Mapping[str, Tensor]) -> Tensor:
    axes = [axis for dimension in shape for axis in dimension]
    for position, axis in enumerate(axes):
        if axis.name in order:
            factored = factored.index_select(position, order[axis.name].to(tensor.device))
    return factored.reshape(tensor.shape)


def _factored(state: Mapping[str, Tensor], name: str, shape: Shape) -> Tensor:
    """A tensor with one dimension for each axis of its shape."""
    if name not in state:
        raise VitesseError(f"Reordering needs every parameter, but {name} is missing.")
    if tuple(state[name].shape) != lengths(shape):
        raise VitesseError(f"{name} must have the shape {lengths(shape)}, but has {tuple(state[name].shape)}.")
    return state[name].reshape([axis.size for dimension in shape for axis in dimension])


def _free(shapes: Mapping[str, Shape]) -> set[str]:
    axes = {axis for shape in shapes.values() for dimension in shape for axis in dimension}
    # Entries of a packed bias cannot be moved with their heads: which belongs to which depends on the number of heads.
    packed = {axis.name.removesuffix("packed") + "heads" for axis in axes if axis.kind == "packed"}
    # Where each head of a cascade sees its own part of a stream, the channels cannot move from part to part.
    parted = {".".join(axis.name.split(".")[:2]) + ".embed" for axis in axes if axis.kind == "lane"}
    return {axis.name for axis in axes if axis.kind in KINDS} - packed - parted


def _reason(name: str, sizes: Mapping[str, int]) -> str:
    if name not in sizes:
        return "the network has no such axis"
    if name.endswith(".heads"):
        return 'the bias of its attention is "packed"'
    if name.endswith(".embed"):
        return "the heads of its cascades see a part of the channels each, and the stage no channel_groups"
    return f"only {', '.join(sorted(KINDS))} have an order that is free"
