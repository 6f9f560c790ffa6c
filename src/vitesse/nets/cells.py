"""The network of cells of an architecture: each cell sees the two before it, as maps (B, C, H, W)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from timm.layers.drop import DropPath
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from vitesse.arch import AuxiliaryHead, Cell, CellNetwork, CellStem
from vitesse.arch.cell_network import Place
from vitesse.nets.interface import Network, initialize, pretrained_cfg
from vitesse.ops.cells import FactorizedReduction, PooledHead, Projection, cell_operation
from vitesse.ops.convolution import ConvNorm
from vitesse.ops.head import Classifier


class StemOfCells(nn.Module):
    """Images to the two maps that the first cell sees."""

    def __init__(self, value: CellStem) -> None:
        super().__init__()
        stride = 1 if value.stride == 1 else 2
        self.convs = nn.ModuleList(ConvNorm(into, out, 3, stride=stride) for _, into, out in value.layers())

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) to (B, dim, h, w) twice; with three convolutions the first map is twice as large."""
        x = before = self.convs[0](images)
        for conv in self.convs[1:]:
            before, x = x, conv(functional.relu(x))
        return before, x


def cell_inputs(place: Place, *, affine: bool) -> nn.ModuleList:
    """What brings the two maps that a cell sees to its own width, and the first to the size of the second."""
    first = FactorizedReduction if place.halved else Projection
    kinds = zip((first, Projection), place.before, strict=True)
    return nn.ModuleList(kind(width, place.channels, affine=affine) for kind, width in kinds)


class CellModule(nn.Module):
    """Two maps to the outputs of the cell's nodes, side by side; `drop_path` is the rate of every edge but a plain skip."""

    def __init__(self, cell: Cell, place: Place, *, affine: bool, drop_path: float) -> None:
        super().__init__()
        self.cell = cell
        self.inputs = cell_inputs(place, affine=affine)
        self.nodes = nn.ModuleList(
            nn.ModuleList(
                cell_operation(edge.operation, place.channels, stride=place.stride(edge.source), affine=affine)
                for edge in edges
            )
            for edges in cell.nodes
        )
        self.drop_path = DropPath(drop_path)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """(B, C, H, W) and (B, C', h, w) to (B, nodes * channels, h / stride, w / stride)."""
        states = [self.inputs[0](first), self.inputs[1](second)]
        for edges, operations in zip(self.cell.nodes, self.nodes, strict=True):
            terms = []
            for edge, operation in zip(edges, operations.children(), strict=True):
                term = operation(states[edge.source])
                terms.append(term if isinstance(operation, nn.Identity) else self.drop_path(term))
            states.append(sum(terms[1:], terms[0]))
        return torch.cat([states[number] for number in self.cell.concat], 1)


def auxiliary_head(arch: CellNetwork, value: AuxiliaryHead) -> PooledHead:
    """The module of an auxiliary head on a network of `arch`."""
    dim = arch.stages[value.stage].dim
    return PooledHead(dim, arch.head.classes, pool=value.pool, stride=value.stride, norm=value.norm)


class NetworkOfCells(Network):
    """Stem, stages of cells, head. `forward_intermediates` gives the map at the end of every stage.

    `auxiliary` is a second classifier, where the value has one: it takes the map at the end of its stage and is no part of
    `forward`.
    """

    arch: CellNetwork

    def __init__(self, arch: CellNetwork, *, drop_path: Sequence[float]) -> None:
        super().__init__(arch)
        self.stem = StemOfCells(arch.stem)
        rows = iter(zip(arch.places, drop_path, strict=True))
        self.stages = nn.ModuleList()
        for stage in arch.stages:
            cells = (
                CellModule(cell, place, affine=arch.affine, drop_path=rate)
                for cell, (place, rate) in zip(stage.cells, rows, strict=False)
            )
            self.stages.append(nn.ModuleDict({"cells": nn.ModuleList(cells)}))
        if arch.auxiliary is not None:
            self.auxiliary = auxiliary_head(arch, arch.auxiliary)
        self.head = Classifier(arch.head, arch.stages[-1].dim)
        self.num_prefix_tokens = 0
        self.feature_info = [
            {"module": f"stages.{s}.cells.{stage.depth - 1}", "num_chs": stage.dim, "reduction": reduction}
            for s, (stage, reduction) in enumerate(zip(arch.stages, arch.reductions, strict=True))
        ]

    def walk(self, x: Tensor, *, last: int | None = None) -> Iterator[tuple[int, Tensor]]:
        """The map (B, dim, h, w) of images at the end of each stage; ends after `last`."""
        first, second = self.stem(x)
        for s, stage in enumerate(self.stages):
            for cell in stage["cells"]:  # type: ignore[index]
                if self.grad_checkpointing and torch.is_grad_enabled():
                    first, second = second, checkpoint(cell, first, second, use_reentrant=False)
                else:
                    first, second = second, cell(first, second)
            yield s, second
            if s == last:
                return

    def forward_features(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to the last cell's map (B, dim, h, w)."""
        for _, after in self.walk(x):
            x = after
        return x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """A map (B, dim, h, w) to logits (B, classes), or to its mean (B, dim)."""
        pooled = x.mean((2, 3))
        if pre_logits:
            return pooled
        logits: Tensor = self.head(pooled)
        return logits

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        return_prefix_tokens: bool = False,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """Maps at the ends of the stages asked for (timm's: None all, an integer the last n, or positions).

        There are no tokens beside them, and no norm comes after.
        """
        if output_fmt not in ("NCHW", "NLC"):
            raise ValueError(f'output_fmt must be "NCHW" or "NLC", but got {output_fmt!r}.')
        places = list(range(len(self.stages)))
        wanted = places[-indices:] if isinstance(indices, int) else [places[i] for i in indices or ()] or places
        found = []
        for place, after in self.walk(x, last=max(wanted) if stop_early else None):
            x = after
            if place in wanted:
                one = x if output_fmt == "NCHW" else x.flatten(2).transpose(1, 2)
                found.append((one, one.new_zeros(len(one), 0, x.shape[1])) if return_prefix_tokens else one)
        return found if intermediates_only else (x, found)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """New, untrained classifiers for another number of classes; `global_pool` is "avg" or None."""
        if global_pool not in (None, "", "avg"):
            raise ValueError(f'global_pool must be "avg" or None, but got {global_pool!r}.')
        self.arch = replace(self.arch, head=replace(self.arch.head, classes=num_classes))
        head = Classifier(self.arch.head, self.embed_dim)
        initialize(head)
        self.head = head.to(next(self.parameters()))  # on this network's device, of its type
        if hasattr(self, "auxiliary"):
            if num_classes:
                classifier = nn.Linear(self.auxiliary.classifier.in_features, num_classes)
                initialize(classifier)
                self.auxiliary.classifier = classifier.to(next(self.parameters()))
            else:
                del self.auxiliary
        self.num_classes, self.class_names = num_classes, ()
        self.default_cfg = self.pretrained_cfg = pretrained_cfg(self.arch, self.preprocess)

    def no_weight_decay(self) -> set[str]:
        """None beside biases and normalizations."""
        return set()

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Layers by depth, for layer-wise learning rates (timm's convention): the stem, each cell, the head."""
        patterns: list[tuple[str, tuple[int, ...]]] = [(r"^stem\.", (0,))]
        for layer, place in enumerate(self.arch.places, start=1):
            patterns.append((rf"^{re.escape(place.name)}\.", (layer,)))
        return {"layers": [*patterns, (r"^(?:head|auxiliary)\.", (len(self.arch.places) + 1,))]}
