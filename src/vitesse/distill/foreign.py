"""Teachers that are no networks of ours: any model that timm knows, and through `huggingface` any of the Hub's."""

from __future__ import annotations

from typing import Any

import timm
from timm.data.config import resolve_model_data_config
from torch import nn

from vitesse.data.preprocess import Preprocess
from vitesse.distill.huggingface import HubModel, hub_teacher, is_hub_name
from vitesse.errors import VitesseError


def is_timm_name(name: str) -> bool:
    """Whether timm has a model of this name (a tag of its weights may follow a dot)."""
    return bool(timm.is_model(name))


def foreign_teacher(name: str, *, classes: int | None = None, pretrained: bool = True) -> nn.Module:
    """The model of that name: timm's, or one of the Hub ("hf:owner/name", "clip:owner/name").

    classes: for how many it is to have a new classifier; its own where no number is given. pretrained False: only its
    shape, for weights of one's own.
    """
    if not is_hub_name(name):
        return timm_teacher(name, classes=classes, pretrained=pretrained)
    model = hub_teacher(name, pretrained=pretrained)
    if classes is not None:
        model.reset_classifier(classes)
    return model


def timm_teacher(name: str, *, classes: int | None = None, pretrained: bool = True) -> nn.Module:
    """timm's model of that name, with a classifier for so many classes where a number is given."""
    chosen: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    try:
        return timm.create_model(name, pretrained=pretrained, **chosen)
    except (OSError, RuntimeError, ValueError) as error:
        raise VitesseError(f"The weights of {name} could not be loaded: {error}") from error


def foreign_preprocess(model: nn.Module, *, size: int | None = None) -> Preprocess:
    """How a foreign model wants its images; `size` over what timm says of a model of its own, where one is given."""
    known = getattr(model, "preprocess", None)
    if not isinstance(known, Preprocess):
        config = resolve_model_data_config(model)
        channels, *sides = config["input_size"]
        known = Preprocess(
            size=(sides[0], sides[1]),
            channels=channels,
            mean=tuple(config["mean"]),
            std=tuple(config["std"]),
            interpolation="bilinear" if config["interpolation"] == "bilinear" else "bicubic",
            crop=config["crop_pct"],
        )
    if size is None or isinstance(model, HubModel):
        return known
    return Preprocess.from_dict({**known.to_dict(), "size": [size, size]})
