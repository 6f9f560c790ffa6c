"""The door for published weights: a state dict in its authors' layout becomes a network of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from vitesse.zoo.autoformer_weights import autoformer
from vitesse.zoo.families import require_family
from vitesse.zoo.minideit_weights import minideit


def from_published(family: str, state_dict: Mapping[str, Tensor], config: Mapping[str, Any]) -> nn.Module:
    """The network of published weights, in evaluation mode.

    `config` holds the arguments of the published constructor and beside them, where there are any, the `choices`.
    "autoformer" gives a `Supernet` as large as its storage, to be called as `net(images, arch)` with an arch from
    `published_arch("autoformer", config, sampled)`. "minideit" gives a network; its `rpe_config` and `norm_layer` stand
    beside the arguments. VitesseError names missing and unknown keys, other shapes, and
    settings that are not supported.
    """
    doors = {"autoformer": autoformer, "minideit": minideit}
    require_family(family, doors)
    return doors[family](state_dict, config)
