"""Teachers that are no networks of ours: any classifier that timm knows."""

from __future__ import annotations

from typing import Any

import timm
from torch import nn


def is_timm_name(name: str) -> bool:
    """Whether timm has a model of this name (a tag of its weights may follow a dot)."""
    return bool(timm.is_model(name))


def licence_of(name: str) -> str | None:
    """The licence of timm's weights of that name, where timm knows it."""
    config = timm.get_pretrained_cfg(name) if is_timm_name(name) else None
    return None if config is None else config.license


def timm_teacher(name: str, *, classes: int | None = None, pretrained: bool = True) -> nn.Module:
    """timm's model of that name, with a classifier for so many classes where a number is given."""
    chosen: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    return timm.create_model(name, pretrained=pretrained, **chosen)
