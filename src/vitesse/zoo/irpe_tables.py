"""Published tables of image relative position encoding and ours: one layout into the other, once, at the door.

Theirs are (heads or 1, head_dim, buckets) on queries and keys, (heads or 1, buckets, head_dim) on values and (heads or 1,
buckets) for a bias, with the entry of extra tokens last.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from vitesse.arch import ImageRelativePosition
from vitesse.errors import VitesseError

METHODS: Mapping[str, Literal["product", "euclidean", "quantization", "cross"]] = {
    "product": "product",
    "euc": "euclidean",
    "quant": "quantization",
    "cross": "cross",
}
MODES: Mapping[str, Literal["contextual", "bias"]] = {"ctx": "contextual", "contextual": "contextual", "bias": "bias"}
_NAMES = {"method", "mode", "shared_head", "skip", "ratio", "on"}


def position_value(config: Mapping[str, Any]) -> ImageRelativePosition:
    """The value of published settings: method, mode, shared_head, skip, ratio, on (any order of the letters q, k, v).

    VitesseError where one is missing, unknown or impossible.
    """
    given = {"ratio": 1.9, "method": "product", "mode": "ctx", "shared_head": True, "skip": 0, **config}
    if set(given) != _NAMES:
        raise VitesseError(f"A relative position has the settings {sorted(_NAMES)}, but got {sorted(given)}.")
    on = "".join(side for side in "qkv" if side in str(given["on"]))
    good = given["method"] in METHODS and given["mode"] in MODES and on and sorted(on) == sorted(str(given["on"]))
    good = good and isinstance(given["skip"], int) and given["skip"] >= 0
    if not good:
        raise VitesseError(
            f"method must be one of {', '.join(METHODS)}, mode one of {', '.join(MODES)}, skip the number of extra tokens "
            f"and the sides some of q, k, v, but got {given}."
        )
    ratio = float(given["ratio"])
    try:
        return ImageRelativePosition(
            method=METHODS[given["method"]],
            mode=MODES[given["mode"]],
            shared=bool(given["shared_head"]),
            on=on,  # type: ignore[arg-type]
            alpha=ratio,
            beta=2 * ratio,
            gamma=8 * ratio,
            extra=given["skip"] > 0,
        )
    except ValueError as error:
        raise VitesseError(f"These relative positions cannot be made: {error}") from error


def table_shapes(value: ImageRelativePosition, side: str, *, heads: int, head_dim: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published tables of one side ("query", "key" or "value")."""
    tables = 2 if value.method == "cross" else 1
    first, entries = 1 if value.shared else heads, value.buckets // tables
    if value.mode == "bias":
        shape: tuple[int, ...] = (first, entries)
    else:
        shape = (first, entries, head_dim) if side == "value" else (first, head_dim, entries)
    return dict.fromkeys(_names(value), shape)


def from_theirs(theirs: Mapping[str, Tensor], value: ImageRelativePosition, side: str) -> dict[str, Tensor]:
    """Published tables of one side, or gradients of them, to ours, by our names."""
    turned = [_turned(theirs[name], value, side) for name in _names(value)]  # (heads or 1, entries, ...)
    line = 2 * value.reach + 1
    count = line**2 if value.method == "product" else line
    ours = {f"{side}_{name}": table[:, :count] for name, table in zip(_ours(value), turned, strict=True)}
    if value.method == "product":
        ours = {name: table.unflatten(1, (line, line)) for name, table in ours.items()}
    if value.extra:
        ours[f"{side}_extra"] = torch.cat([table[:, count:] for table in turned], 1)
    return {name: table[0] if value.shared else table for name, table in ours.items()}


def to_theirs(ours: Mapping[str, Tensor], value: ImageRelativePosition, side: str) -> dict[str, Tensor]:
    """Our tables of one side, or gradients of them, to the published ones, by their names."""
    found = {}
    for which, (name, their) in enumerate(zip(_ours(value), _names(value), strict=True)):
        names = [f"{side}_{name}", *([f"{side}_extra"] if value.extra else [])]
        parts = [ours[name][None] if value.shared else ours[name] for name in names]
        parts[0] = parts[0].flatten(1, 2) if value.method == "product" else parts[0]
        parts[1:] = [part[:, which : which + 1] for part in parts[1:]]
        found[their] = _turned(torch.cat(parts, 1), value, side)
    return found


def _turned(table: Tensor, value: ImageRelativePosition, side: str) -> Tensor:
    """Entries before width, or back."""
    return table.transpose(1, 2) if value.mode == "contextual" and side != "value" else table


def _names(value: ImageRelativePosition) -> tuple[str, ...]:
    name = "lookup_table_bias" if value.mode == "bias" else "lookup_table_weight"
    return (f"rp_rows.{name}", f"rp_cols.{name}") if value.method == "cross" else (name,)


def _ours(value: ImageRelativePosition) -> tuple[str, ...]:
    return ("rows", "columns") if value.method == "cross" else ("table",)
