"""Who is compared with what: layers of student and teacher by relative depth, and the features of two encoders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional

from vitesse.errors import VitesseError
from vitesse.nets.taps import Found, Layer, Site, as_map, extra_tokens, looking, taps
from vitesse.tasks.settings import DistillSettings


def matched(
    ours: Sequence[Layer], theirs: Sequence[Layer], *, settings: DistillSettings, teacher: nn.Module
) -> list[tuple[Layer, Layer]]:
    """Pairs of layers: those that are set, or every second of ours with theirs of the same map at the same relative depth.

    In networks of several stages relative depth is that within the layers of one map size. VitesseError where one of
    the networks has no attention, a layer does not exist, or no map fits.
    """
    for who, layers in (("student", ours), ("teacher", theirs)):
        if not layers:
            raise VitesseError(
                f"Relations are of layers with attention, but the {who} has none that is known"
                f"{f' ({type(teacher).__name__})' if who == 'teacher' else ''}. Distil its logits or features instead."
            )
    chosen = settings.layers or tuple(reversed(range(len(ours) - 1, -1, -2)))
    _require("layers", chosen, len(ours))
    if settings.teacher_layers:
        _require("teacher_layers", settings.teacher_layers, len(theirs))
        return [(ours[i], theirs[j]) for i, j in zip(chosen, settings.teacher_layers, strict=True)]
    return [(ours[i], _same_depth(i, ours, theirs)) for i in chosen]


def _require(name: str, chosen: Sequence[int], count: int) -> None:
    if not all(0 <= layer < count for layer in chosen):
        raise VitesseError(
            f"distill.{name} must lie between 0 and {count - 1}, as there are {count} layers with attention, but is {chosen}."
        )


def _same_depth(index: int, ours: Sequence[Layer], theirs: Sequence[Layer]) -> Layer:
    patches = ours[index].patches
    mine = [i for i, layer in enumerate(ours) if layer.patches == patches]
    other = [layer for layer in theirs if layer.patches == patches]
    if not other:
        raise VitesseError(
            f"Layer {index} of the student sees {patches} patches, but the teacher's layers see "
            f"{', '.join(map(str, dict.fromkeys(layer.patches for layer in theirs)))}. Take a student with the teacher's "
            "map (its patch and image size), choose distill.layers, or distil features instead, which are resized."
        )
    place = round((mine.index(index) + 1) * len(other) / len(mine)) - 1
    return other[max(0, place)]


def like(ours: Tensor, theirs: Tensor, extra: int, their_extra: int) -> tuple[Tensor, Tensor]:
    """The tokens (B, N, C) of both without class tokens and registers, where the two differ in them."""
    if extra == their_extra:
        return ours, theirs
    return ours[:, extra:], theirs[:, their_extra:]


@dataclass(frozen=True, kw_only=True, slots=True)
class Feature:
    """Where an encoder's features are: the output of a module, or what its `forward_features` gives.

    extra: tokens before the patches. aspect: the images' height over their width. of: what is compared of them.
    """

    sites: tuple[Site, ...]
    width: int
    extra: int
    aspect: float
    of: Literal["map", "pooled"]

    def run(self, network: Any, images: Tensor, found: Found) -> tuple[Tensor | None, Tensor]:
        """One pass: (logits, features); the logits are None for an encoder without any head."""
        if self.sites:
            logits = network(images)
            return logits, found[self.sites[0]]
        inner = network.forward_features(images)
        logits = network.forward_head(inner)
        return logits, network.forward_head(inner, pre_logits=True) if self.of == "pooled" else inner

    def vectors(self, mine: Tensor, wanted: Tensor, *, other: Feature) -> tuple[Tensor, Tensor]:
        """Both as vectors to be compared: (B, N, C) of maps, theirs resized to mine, or (B, C) pooled."""
        if self.of == "pooled":
            return self.pooled(mine), other.pooled(wanted)
        if mine.ndim == 2 or wanted.ndim == 2:
            raise VitesseError(
                "Maps are to be compared, but one of the encoders gives one vector an image: "
                f'{tuple(mine.shape)} and {tuple(wanted.shape)}. Set distill.feature_of = "pooled", or name other modules.'
            )
        ours = as_map(mine, self.width, extra=self.extra, aspect=self.aspect)
        theirs = as_map(wanted, other.width, extra=other.extra, aspect=other.aspect)
        if theirs.shape[-2:] != ours.shape[-2:]:
            theirs = functional.interpolate(
                theirs.float(), ours.shape[-2:], mode="bilinear", align_corners=False, antialias=True
            )
        return ours.flatten(2).transpose(1, 2), theirs.flatten(2).transpose(1, 2)

    def pooled(self, features: Tensor) -> Tensor:
        """(B, C) of a vector, of tokens or of a map: their mean."""
        if features.ndim == 2:
            return features
        return as_map(features, self.width, extra=self.extra, aspect=self.aspect).mean((2, 3))


def feature_of(network: nn.Module, module: str, of: Literal["map", "pooled"], images: Tensor) -> Feature:
    """The features of a network, at a module where one is named; its width is seen by running one image."""
    own = getattr(network, "feature_site", None)  # a model of another make may say where its features are
    site = module if module or own is None else own(of)
    named = bool(module) or own is not None
    if not named and not (hasattr(network, "forward_features") and hasattr(network, "forward_head")):
        raise VitesseError(
            f"Features come from a network with forward_features and forward_head, or from a named module, but "
            f"{type(network).__name__} has neither. Name one: distill.student_module or distill.teacher_module."
        )
    high, wide = images.shape[-2:]
    draft = Feature(
        sites=(Site(site),) if named else (), width=0, extra=extra_tokens(network), aspect=high / wide, of=of
    )
    with taps(network, draft.sites) as found, looking(network):
        _, features = draft.run(network, images, found)
    return replace(draft, width=_width(features, network))


def _width(features: Tensor, network: nn.Module) -> int:
    """The number of channels: the last axis of vectors and tokens; of a map the axis that the network's width names."""
    if features.ndim != 4:
        return int(features.shape[-1])
    known = getattr(network, "num_features", None)
    return int(features.shape[-1]) if features.shape[-1] == known and features.shape[1] != known else features.shape[1]
