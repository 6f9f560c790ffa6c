"""The door for published weights: a state dict in its authors' layout becomes a network of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from vitesse.zoo.autoformer_weights import autoformer
from vitesse.zoo.cdarts_weights import cdarts
from vitesse.zoo.cream_weights import cream, cream_supernet
from vitesse.zoo.efficientvit_weights import efficientvit
from vitesse.zoo.families import require_family
from vitesse.zoo.irpe_weights import deit_irpe, irpe
from vitesse.zoo.minideit_weights import minideit
from vitesse.zoo.miniswin_student import miniswin_student
from vitesse.zoo.swin_weights import autoformerv2, miniswin
from vitesse.zoo.tinyvit_weights import tinyvit

# What makes a network of a family's published state dict and config.
FAMILIES: Mapping[str, Callable[[Mapping[str, Tensor], Mapping[str, Any]], nn.Module]] = {
    "autoformer": autoformer,
    "autoformerv2": autoformerv2,
    "cdarts": cdarts,
    "cream": cream,
    "cream_supernet": cream_supernet,
    "deit_irpe": deit_irpe,
    "efficientvit": efficientvit,
    "irpe": irpe,
    "minideit": minideit,
    "miniswin": miniswin,
    "miniswin_student": miniswin_student,
    "tinyvit": tinyvit,
}


def from_published(family: str, state_dict: Mapping[str, Tensor], config: Mapping[str, Any]) -> nn.Module:
    """The network of published weights, in evaluation mode.

    `config` holds the arguments of the published constructor and beside them, where there are any, the `choices`.
    "autoformer" gives a `Supernet` as large as its storage, to be called as `net(images, arch)` with an arch from
    `published_arch("autoformer", config, sampled)`, and "cream_supernet" likewise; "irpe" one encoding alone, which takes
    queries, keys or probabilities and gives its terms; "miniswin_student" a `MiniSwinStudent`, whose logits come with
    features; the others a `Network`. "cream" also has the chains of CDARTS, and takes whole checkpoints, too.
    VitesseError names missing and unknown keys, other shapes, and settings that are not supported.
    """
    require_family(family, FAMILIES)
    return FAMILIES[family](state_dict, config)
