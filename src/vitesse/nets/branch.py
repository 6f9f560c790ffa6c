"""A residual branch: normalization, operation, layer scale, stochastic depth. Here a value meets its module."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from functools import singledispatch

import torch
from timm.layers.drop import DropPath
from torch import Tensor, nn

from vitesse.arch import (
    MLP,
    Attention,
    CascadedAttention,
    ConvMLP,
    Downsample,
    Grid,
    LocalConv,
    LocalMix,
    LocalTransform,
    MBConv,
    NB201Cell,
    NormAct,
    Operation,
    PatchMerging,
    PlainConv,
    ResidualDownsample,
    SandwichDownsample,
    ShiftedWindowAttention,
    Skip,
    WindowAttention,
)
from vitesse.errors import VitesseError
from vitesse.ops.attention import SelfAttention
from vitesse.ops.cascaded_attention import CascadedSelfAttention
from vitesse.ops.convolution import Downsampling, InvertedResidual, LocalConvolution, PlainConvolution
from vitesse.ops.mixing import LocalMixing, LocalTransforming
from vitesse.ops.mixture import mix
from vitesse.ops.mlp import Perceptron, activation
from vitesse.ops.nb201 import CellGraph, NormActivation, ResidualDownsampling
from vitesse.ops.patch_merging import Merging
from vitesse.ops.sandwich import ConvPerceptron, SandwichDownsampling
from vitesse.ops.shifted_window import ShiftedWindowSelfAttention
from vitesse.ops.skip import Skipping
from vitesse.ops.window_attention import WindowSelfAttention


@singledispatch
def operation(value: object, embed: int) -> nn.Module:
    """The module of an operation's value, for an embedding of this width."""
    raise TypeError(f"No module is known for the operation {type(value).__name__}.")


operation.register(Attention)(SelfAttention)
operation.register(CascadedAttention)(CascadedSelfAttention)
operation.register(ConvMLP)(ConvPerceptron)
operation.register(LocalConv)(LocalConvolution)
operation.register(MBConv)(InvertedResidual)
operation.register(MLP)(Perceptron)
operation.register(LocalMix)(LocalMixing)
operation.register(LocalTransform)(LocalTransforming)
operation.register(NB201Cell)(CellGraph)
operation.register(NormAct)(NormActivation)
operation.register(ShiftedWindowAttention)(ShiftedWindowSelfAttention)
operation.register(Skip)(Skipping)
operation.register(WindowAttention)(WindowSelfAttention)


@singledispatch
def down(value: object, previous: int, embed: int) -> nn.Module:
    """The module of what leads into a stage, from this width to that."""
    raise TypeError(f"No module is known for the {type(value).__name__} before a stage.")


down.register(Downsample)(Downsampling)
down.register(PatchMerging)(Merging)
down.register(PlainConv)(PlainConvolution)
down.register(ResidualDownsample)(ResidualDownsampling)
down.register(SandwichDownsample)(SandwichDownsampling)


class Branch(nn.Module):
    """after(x + drop_path(scale * op(norm(x)))), or norm(op(x)); the operation's value says what of it there is.

    A norm behind the operation starts at zero, so that the block starts as the identity (SwinV2).
    """

    def __init__(self, value: Operation, embed: int, *, drop_path: float = 0.0) -> None:
        super().__init__()
        self.value = value
        self.norm = nn.LayerNorm(embed, eps=value.norm.eps) if value.norm is not None else nn.Identity()
        if value.post_norm and isinstance(self.norm, nn.LayerNorm):
            nn.init.zeros_(self.norm.weight)
        self.op = operation(value, embed)
        if value.layer_scale:
            self.scale = nn.Parameter(torch.full((embed,), 1e-5))
        self.after = nn.Identity() if value.after is None else activation(value.after)
        self.drop_path = DropPath(drop_path)
        self._lender: tuple[Branch, ...] = ()  # a tuple, so that it is no submodule

    def borrow(self, lender: Branch, own: Collection[str]) -> None:
        """Use the lender's weights, but for the roles in `own` and the transformations, which stay this one's.

        What is borrowed is no submodule here: its parameters, state and hooks are the lender's alone, so that a shared
        tensor has one name, and whatever copies, moves or replaces it there does so here too.
        """
        if own_parameters := [name for name, _ in self.op.named_parameters(recurse=False)]:
            raise TypeError(f"Only submodules can be borrowed, but {type(self.op).__name__} holds {own_parameters}.")
        leaves = [name for name, module in self.op.named_modules() if name and not any(module.children())]
        for name in leaves:
            role = self.value.role(name)
            if role != "transform" and role not in own:
                holder, _, last = name.rpartition(".")
                _borrow(self.op.get_submodule(holder), lender.op.get_submodule(holder), last)
        if "norm" not in own:
            _borrow(self, lender, "norm")
            if self.value.layer_scale:
                del self.scale
                self._lender = (lender,)

    @property
    def factor(self) -> Tensor | None:
        """The layer scale, its own or the lender's, (embed,)."""
        if not self.value.layer_scale:
            return None
        return (self._lender[0] if self._lender else self).scale

    @property
    def last(self) -> nn.Linear | nn.Conv2d | None:
        """The layer that computes what the operation gives, where the operation names one and no norm comes behind it."""
        return None if self.value.post_norm else getattr(self.op, "last", None)

    def drop_scale(self) -> None:
        """Go on without the layer scale."""
        self.value = replace(self.value, layer_scale=False)  # type: ignore[type-var]  # every operation is a dataclass
        if not self._lender:
            del self.scale

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """(B, N, embed) to (B, N, embed)."""
        y = self.norm(self.op(x, grid)) if self.value.post_norm else self.op(self.norm(x), grid)
        if (factor := self.factor) is not None:
            y = y * factor
        out: Tensor = self.after(x + self.drop_path(y) if self.value.residual else y)
        return out


class Candidates(nn.ModuleList):
    """All that a choice between operations leaves open, with weights for each; a network that has chosen runs one of them.

    Their mixture runs where `mixture` (candidates,), how much of each, is put in (`torch.func.functional_call`).
    """

    mixture: Tensor | None

    def __init__(self, candidates: Iterable[nn.Module]) -> None:
        super().__init__(candidates)
        self.register_buffer("mixture", None)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """What all candidates make of x, mixed; VitesseError where no mixture was put in."""
        if self.mixture is None:
            raise VitesseError(
                "The host of a supernet holds several operations for one place, and computes nothing by itself. "
                "Name the network that is to run: supernet(x, arch), or take it out: inherit(network, arch)."
            )
        return mix(self.mixture, [candidate(x, grid) for candidate in self])


def _borrow(borrower: nn.Module, lender: nn.Module, name: str) -> None:
    del borrower._modules[name]
    # Past nn.Module's own __setattr__, which would make it a submodule.
    object.__setattr__(borrower, name, getattr(lender, name))
