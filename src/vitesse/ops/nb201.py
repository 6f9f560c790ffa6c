"""The modules behind the cell of NAS-Bench-201 and what stands between its cells."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from vitesse.arch import Grid, NB201Cell, NormAct, ResidualDownsample
from vitesse.arch.nb201 import EDGES, KERNELS, mixed
from vitesse.ops.convolution import ConvNorm, to_map, to_tokens
from vitesse.ops.mixture import mix


class CellGraph(nn.Module):
    """The nodes of a cell, one after another, each the sum of what its edges bring."""

    def __init__(self, value: NB201Cell, embed: int) -> None:
        super().__init__()
        self.edges = nn.ModuleList(CellEdge(mixed(edge), embed) for edge in value.edges)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """(B, N, embed) to (B, N, embed)."""
        nodes = [to_map(x, grid)]  # (B, embed, rows, columns)
        for node in range(1, 4):
            ways = [(source, edge) for (source, into), edge in zip(EDGES, self.edges, strict=True) if into == node]
            brought = [edge(nodes[source]) for source, edge in ways if not cast(CellEdge, edge).empty]
            nodes.append(sum(brought[1:], brought[0]) if brought else torch.zeros_like(nodes[0]))
        return to_tokens(nodes[-1])


class CellEdge(nn.ModuleDict):
    """The operation of an edge, by its name; of several their mixture.

    `mixture` (operations,) says how much of each, and is put in with each call (`torch.func.functional_call`).
    """

    mixture: Tensor | None

    def __init__(self, kinds: tuple[str, ...], embed: int) -> None:
        super().__init__({kind: _operation(kind, embed) for kind in kinds})
        self.empty = kinds == ("none",)
        self.register_buffer("mixture", None)

    def forward(self, x: Tensor) -> Tensor:
        """(B, embed, rows, columns) to the same."""
        brought = [module(x.relu() if kind in KERNELS else x) for kind, module in self.items()]
        if len(brought) == 1:
            one: Tensor = brought[0]
            return one
        if self.mixture is None:
            raise ValueError(
                f"An edge that holds several operations ({', '.join(self)}) runs as a mixture, but none was given. "
                "Choose one of them: supernet(x, arch)."
            )
        return mix(self.mixture, brought)


class NormActivation(nn.Module):
    """Batch normalization and ReLU."""

    def __init__(self, value: NormAct, embed: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(embed)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """(B, N, embed) to (B, N, embed)."""
        return to_tokens(self.norm(to_map(x, grid)).relu())


class ResidualDownsampling(nn.Module):
    """A basic block of a ResNet with stride 2, ReLU before its convolutions."""

    def __init__(self, value: ResidualDownsample, previous: int, embed: int) -> None:
        super().__init__()
        self.first = ConvNorm(previous, embed, 3, stride=value.stride)
        self.second = ConvNorm(embed, embed, 3)
        self.shortcut = nn.Conv2d(previous, embed, 1, bias=False)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """Tokens (B, N, previous) that lie on `grid` to (B, fewer, embed)."""
        on_map = to_map(x, grid)
        y = self.second(self.first(on_map.relu()).relu())  # (B, embed, rows / 2, columns / 2)
        mean = functional.avg_pool2d(on_map, 2, 2, ceil_mode=True, count_include_pad=False)
        return to_tokens(y + self.shortcut(mean))


class _Nothing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


def _operation(kind: str, embed: int) -> nn.Module:
    if kind in KERNELS:
        return ConvNorm(embed, embed, KERNELS[kind])
    if kind == "avg_pool_3x3":
        return nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    return nn.Identity() if kind == "skip_connect" else _Nothing()
