"""A network as it is served: what is one affine map in evaluation is one layer."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from torch import nn

from vitesse.nets.branch import Branch
from vitesse.ops.folding import scale_out


@runtime_checkable
class Foldable(Protocol):
    """A module that knows a smaller one which computes the same in evaluation."""

    def folded(self) -> nn.Module:
        """The smaller one."""
        ...


def fold(network: nn.Module) -> nn.Module:
    """A copy that computes the same in evaluation with fewer layers, in evaluation mode.

    Batch normalizations become part of the convolutions before them and of the linear layers after them, layer scales
    of the last layer of their branch. What blocks share stays shared: a layer that blocks with different normalizations
    or scales share is left as it is. The copy is not to be trained: what it was normalized by is no longer there, and its
    parameters take no gradient. Networks that are not of Vitesse are copied as they are.
    """
    whole = copy.deepcopy(network).eval()
    _fold_norms(whole)
    _fold_scales([module for module in whole.modules() if isinstance(module, Branch)])
    return whole.requires_grad_(False)


def _fold_norms(whole: nn.Module) -> None:
    # The layers of a convolution and its normalization, once for all blocks that share both.
    innermost = {
        tuple(_layers(module))
        for module in whole.modules()
        if isinstance(module, Foldable) and not any(isinstance(part, Foldable) for part in _parts(module))
    }
    users = Counter(layer for layers in innermost for layer in layers)
    made: dict[tuple[nn.Module, ...], nn.Module] = {}

    def replace(holder: nn.Module) -> None:
        for name, child in list(holder.named_children()):
            layers = tuple(_layers(child))
            if not isinstance(child, Foldable) or any(users[layer] > 1 for layer in layers):
                replace(child)
                continue
            if layers not in made:
                made[layers] = child.folded()
            setattr(holder, name, made[layers])

    replace(whole)


def _parts(module: nn.Module) -> Iterator[nn.Module]:
    """What a module holds or borrows."""
    yield from module.children()
    yield from (part for part in vars(module).values() if isinstance(part, nn.Module))


def _layers(module: nn.Module) -> Iterator[nn.Module]:
    """The layers within a module, its own and borrowed ones."""
    for part in _parts(module):
        inner = list(_layers(part))
        yield from inner or [part]


def _fold_scales(branches: list[Branch]) -> None:
    together: dict[nn.Module, list[Branch]] = {}
    for branch in branches:
        if branch.last is not None:
            together.setdefault(branch.last, []).append(branch)
    for layer, sharing in together.items():
        scale = sharing[0].factor
        if scale is not None and all(branch.factor is scale for branch in sharing):
            scale_out(layer, scale)
            for branch in sharing:
                branch.drop_scale()
