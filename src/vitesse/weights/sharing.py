"""From weights that each block has for itself to weights that blocks share, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vitesse.arch import Backbone, tensors
from vitesse.errors import VitesseError


def plain_of(arch: Backbone) -> Backbone:
    """`arch` with weights for each block of its own."""
    return replace(arch, stages=tuple(replace(stage, share=1) for stage in arch.stages))


def lenders(arch: Backbone) -> dict[str, str]:
    """For each tensor of the network whose blocks share nothing the name under which `arch` has it."""
    held = tensors(arch)
    return {name: name if name in held else _lender(name, arch) for name in tensors(plain_of(arch))}


def _lender(name: str, arch: Backbone) -> str:
    stages, s, blocks, b, rest = name.split(".", 4)
    return f"{stages}.{s}.{blocks}.{arch.stages[int(s)].leader(int(b))}.{rest}"


def untied(state: Mapping[str, Tensor], arch: Backbone) -> dict[str, Tensor]:
    """The weights of the network of `arch` for the same network without sharing: each block's by its own name."""
    return {name: state[source] for name, source in lenders(arch).items()}


def sharers(arch: Backbone) -> dict[str, list[str]]:
    """For each shared parameter of `arch` the names that its blocks would have for it, in order."""
    users: dict[str, list[str]] = {}
    for name, source in lenders(arch).items():
        users.setdefault(source, []).append(name)
    return {source: names for source, names in users.items() if len(names) > 1}


def from_first(state: Mapping[str, Tensor], arch: Backbone) -> dict[str, Tensor]:
    """The weights of `arch` out of those of its plain twin: of what blocks share, the first block's of each group."""
    return {name: state[name] for name in tensors(arch) if name in state}


def from_mean(state: Mapping[str, Tensor], arch: Backbone) -> dict[str, Tensor]:
    """The weights of `arch` out of those of its plain twin: of what blocks share, the mean over the group."""
    means = {name: _mean([state[user] for user in users]) for name, users in sharers(arch).items()}
    return from_first(state, arch) | {name: mean for name, mean in means.items() if name in state}


def _mean(tensors: list[Tensor]) -> Tensor:
    return torch.stack(tensors).double().mean(0).to(tensors[0].dtype)  # counters are whole numbers


@dataclass(slots=True)
class LayerFit:
    """One linear layer in place of several: least squares on what each of these was given and made of it.

    The sum over the layers l of |W x - W_l x|^2 over their own inputs x is least for
    W = (sum W_l C_l) (sum C_l)^-1, with C_l = sum x x^T (RegMean; Jin et al., ICLR 2023). A bias is one more column, whose
    input is 1. `ridge` draws towards the mean of the layers, in shares of the mean of the diagonal of sum C_l.
    """

    moments: Tensor  # sum of C_l, (in, in), with one more where there is a bias; float64
    products: Tensor  # sum of W_l C_l, (out, in)
    means: Tensor  # mean of W_l
    layers: int = 0

    @classmethod
    def like(cls, weight: Tensor, bias: Tensor | None) -> LayerFit:
        """A fit of layers as wide as this one, that has seen nothing yet."""
        columns = weight.shape[1] + (bias is not None)
        nothing = torch.zeros(len(weight), columns, dtype=torch.float64)
        return cls(torch.zeros(columns, columns, dtype=torch.float64), nothing, nothing.clone())

    def add_layer(self, weight: Tensor, bias: Tensor | None) -> None:
        """One of the layers that are to become one."""
        self.means = (self.means * self.layers + joined(weight, bias)) / (self.layers + 1)
        self.layers += 1

    def see(self, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> None:
        """Inputs (..., in) that one of the layers was given."""
        x = inputs.detach().flatten(0, -2).float()
        x = x if bias is None else torch.cat([x, x.new_ones(len(x), 1)], 1)
        moment = (x.T @ x).to("cpu", torch.float64)
        self.moments += moment
        self.products += joined(weight, bias) @ moment

    def solve(self, *, ridge: float, bias: bool) -> tuple[Tensor, Tensor | None]:
        """Weight and bias, float32."""
        strength = ridge * float(self.moments.diagonal().mean())
        if not strength > 0:
            raise VitesseError(
                "A fit needs images and a positive ridge, but its layers were given nothing. Add images."
            )
        square = self.moments + strength * torch.eye(len(self.moments), dtype=torch.float64)
        found = torch.linalg.solve(square, (self.products + strength * self.means).T).T.float()
        return (found[:, :-1].contiguous(), found[:, -1].contiguous()) if bias else (found.contiguous(), None)


def joined(weight: Tensor, bias: Tensor | None) -> Tensor:
    """Weight and bias as one matrix, float64."""
    both = weight if bias is None else torch.cat([weight, bias[:, None]], 1)
    return both.detach().to("cpu", torch.float64)
