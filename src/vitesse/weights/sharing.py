"""From weights that each block has for itself to weights that blocks share, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from vitesse.arch import Backbone, parameters


def plain_of(arch: Backbone) -> Backbone:
    """`arch` with weights for each block of its own."""
    return replace(arch, stages=tuple(replace(stage, share=1) for stage in arch.stages))


def lenders(arch: Backbone) -> dict[str, str]:
    """For each parameter of the network whose blocks share nothing the name under which `arch` has it."""
    held = parameters(arch)
    found = {}
    for name in parameters(plain_of(arch)):
        found[name] = name
        if name not in held:
            stages, s, blocks, b, rest = name.split(".", 4)
            found[name] = f"{stages}.{s}.{blocks}.{arch.stages[int(s)].leader(int(b))}.{rest}"
    return found


def untied(state: Mapping[str, Tensor], arch: Backbone) -> dict[str, Tensor]:
    """The weights of the network of `arch` for the same network without sharing: each block's by its own name."""
    return {name: state[source] for name, source in lenders(arch).items()}
