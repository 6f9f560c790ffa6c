"""Architectures and spaces as JSON, and back. What is read is checked; nothing in it can run code."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from vitesse.arch.attention import Attention
from vitesse.arch.backbone import Backbone, Block, Stage
from vitesse.arch.cascaded_attention import CascadedAttention
from vitesse.arch.cell_network import Arch, AuxiliaryHead, CellNetwork, CellStage, CellStem
from vitesse.arch.cell_space import CellSpace
from vitesse.arch.cells import Cell, Edge, Genotype
from vitesse.arch.choice import Options
from vitesse.arch.conv_stem import ConvStem
from vitesse.arch.convolution import Downsample, LocalConv, MBConv, PlainConv
from vitesse.arch.head import Head
from vitesse.arch.mixing import HeadMix, LocalMix, LocalTransform
from vitesse.arch.mlp import MLP
from vitesse.arch.nb201 import NB201Cell, NormAct, ResidualDownsample
from vitesse.arch.operation import BatchNorm, LayerNorm
from vitesse.arch.patch_embed import PatchEmbed
from vitesse.arch.patch_merging import PatchMerging
from vitesse.arch.position import ImageRelativePosition, RelativePosition
from vitesse.arch.sandwich import ConvMLP, SandwichDownsample
from vitesse.arch.shifted_window import ShiftedWindowAttention
from vitesse.arch.skip import Skip
from vitesse.arch.window_attention import WindowAttention
from vitesse.arch.window_position import ContinuousPosition, OffsetTable

VERSION = 1
KINDS = {
    kind.__name__: kind
    for kind in (
        *(AuxiliaryHead, Cell, CellNetwork, CellSpace, CellStage, CellStem, Edge, Genotype),
        *(Attention, Backbone, BatchNorm, Block, CascadedAttention, ContinuousPosition, ConvMLP, ConvStem, Downsample),
        *(Head, HeadMix, ImageRelativePosition, LayerNorm, LocalConv, LocalMix, LocalTransform, MBConv, MLP),
        *(
            OffsetTable,
            PatchEmbed,
            PatchMerging,
            PlainConv,
            RelativePosition,
            SandwichDownsample,
            ShiftedWindowAttention,
        ),
        *(NB201Cell, NormAct, ResidualDownsample, Skip, Stage, WindowAttention),
    )
}


def to_data(value: Any) -> Any:
    """A value as plain dicts, lists and numbers: `{"type": "MLP", "ratio": 4.0, ...}`."""
    if isinstance(value, Options):
        return {"type": "Choice", "options": [to_data(option) for option in value.options]}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if _told(value, field)}
        return {"type": type(value).__name__, **{name: to_data(item) for name, item in fields.items()}}
    if isinstance(value, (tuple, list)):
        return [to_data(item) for item in value]
    return value


def _told(value: Any, field: dataclasses.Field[Any]) -> bool:
    return not field.metadata.get("quiet") or bool(getattr(value, field.name) != field.default)


def from_data(data: Any, where: str = "arch") -> Any:
    """The value that `to_data` described; ValueError names the place that is wrong."""
    if isinstance(data, list):
        return tuple(from_data(item, f"{where}[{i}]") for i, item in enumerate(data))
    if not isinstance(data, dict):
        return data
    fields = {key: from_data(item, f"{where}.{key}") for key, item in data.items() if key != "type"}
    kind = data.get("type")
    try:
        if kind == "Choice":
            return Options(**fields)
        if not isinstance(kind, str) or kind not in KINDS:
            raise ValueError(f"the type must be one of {', '.join(sorted(KINDS))} or Choice, but got {kind!r}")
        if kind == "Block":
            return Block(*_only(fields, "branches"))
        return KINDS[kind](**fields)
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{where}: {error}") from None


def _only(fields: dict[str, Any], name: str) -> Any:
    if set(fields) != {name} or not isinstance(fields[name], tuple):
        raise ValueError(f'it must hold one list, "{name}", but got {sorted(fields)}')
    return fields[name]


def to_json(value: Any) -> str:
    """One line of JSON for an architecture or a space: equal values give equal text."""
    return json.dumps({"version": VERSION, **to_data(value)}, sort_keys=True, separators=(",", ":"))


def space_from_json(text: str) -> Backbone:
    """As `from_json`, where blocks are asked for: a network of cells is no space, and no network of one."""
    value = from_json(text)
    if not isinstance(value, Backbone):
        raise ValueError(
            "A space, or a network of one, is a Backbone, but this is a network of cells. It has no choices."
        )
    return value


def from_json(text: str) -> Arch:
    """The architecture or space of blocks that `to_json` wrote; ValueError says what is wrong, and where."""
    value = _value(text)
    if not isinstance(value, (Backbone, CellNetwork)):
        raise ValueError(f"The outermost type must be Backbone or CellNetwork, but got {type(value).__name__}.")
    return value


def any_space_from_json(text: str) -> Backbone | CellSpace:
    """As `space_from_json`, or a space of cells."""
    value = _value(text)
    if not isinstance(value, (Backbone, CellSpace)):
        raise ValueError(f"A space is a Backbone or a CellSpace, but this is a {type(value).__name__}.")
    return value


def _value(text: str) -> Any:
    try:
        data = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"An architecture is written as JSON, but this is not: {error}.") from None
    if not isinstance(data, dict):
        raise ValueError(f"An architecture is a JSON object, but this is a {type(data).__name__}.")
    version = data.pop("version", VERSION)
    if version != VERSION:
        raise ValueError(
            f"This architecture has format version {version!r}, but this Vitesse reads {VERSION}. Update it."
        )
    try:
        return from_data(data)
    except RecursionError:
        raise ValueError("An architecture is nested a few levels deep, but this one never ends.") from None
