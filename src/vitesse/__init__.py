"""Vitesse makes vision transformers small and fast: searched, taught, measured, exported.

What is a value comes at once, without torch; what needs torch is imported when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vitesse.arch import MLP as MLP
from vitesse.arch import Attention as Attention
from vitesse.arch import AuxiliaryHead as AuxiliaryHead
from vitesse.arch import Backbone as Backbone
from vitesse.arch import BatchNorm as BatchNorm
from vitesse.arch import Block as Block
from vitesse.arch import Budget as Budget
from vitesse.arch import CascadedAttention as CascadedAttention
from vitesse.arch import Cell as Cell
from vitesse.arch import CellNetwork as CellNetwork
from vitesse.arch import CellSpace as CellSpace
from vitesse.arch import CellStage as CellStage
from vitesse.arch import CellStem as CellStem
from vitesse.arch import Choice as Choice
from vitesse.arch import ContinuousPosition as ContinuousPosition
from vitesse.arch import ConvMLP as ConvMLP
from vitesse.arch import ConvStem as ConvStem
from vitesse.arch import Cost as Cost
from vitesse.arch import Downsample as Downsample
from vitesse.arch import Edge as Edge
from vitesse.arch import Genotype as Genotype
from vitesse.arch import Head as Head
from vitesse.arch import HeadMix as HeadMix
from vitesse.arch import ImageRelativePosition as ImageRelativePosition
from vitesse.arch import LayerNorm as LayerNorm
from vitesse.arch import LocalConv as LocalConv
from vitesse.arch import LocalMix as LocalMix
from vitesse.arch import LocalTransform as LocalTransform
from vitesse.arch import MBConv as MBConv
from vitesse.arch import OffsetTable as OffsetTable
from vitesse.arch import PatchEmbed as PatchEmbed
from vitesse.arch import PatchMerging as PatchMerging
from vitesse.arch import PlainConv as PlainConv
from vitesse.arch import RelativePosition as RelativePosition
from vitesse.arch import SandwichDownsample as SandwichDownsample
from vitesse.arch import ShiftedWindowAttention as ShiftedWindowAttention
from vitesse.arch import Skip as Skip
from vitesse.arch import Stage as Stage
from vitesse.arch import WindowAttention as WindowAttention
from vitesse.arch import cost as cost
from vitesse.arch import cross as cross
from vitesse.arch import from_json as from_json
from vitesse.arch import largest as largest
from vitesse.arch import mutate as mutate
from vitesse.arch import sample as sample
from vitesse.arch import size as size
from vitesse.arch import smallest as smallest
from vitesse.arch import to_json as to_json
from vitesse.zoo.registry import list_in_timm

if TYPE_CHECKING:
    from vitesse.deploy.serving import load as load
    from vitesse.nets import build as build
    from vitesse.saved import save_network
    from vitesse.supernet import Supernet as Supernet
    from vitesse.supernet import inherit as inherit

    save = save_network

__version__ = "0.1.0"

_LATE = {
    "build": ("vitesse.nets", "build"),
    "load": ("vitesse.deploy.serving", "load"),
    "save": ("vitesse.saved", "save_network"),
    "Supernet": ("vitesse.supernet", "Supernet"),
    "inherit": ("vitesse.supernet", "inherit"),
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _LATE[name]
    return getattr(import_module(module), attribute)


list_in_timm()  # so that timm.create_model("vitesse_...") works; timm itself is not imported here
