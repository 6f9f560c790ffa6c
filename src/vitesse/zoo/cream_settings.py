"""The settings of the published Cream code, read and checked before anything is made of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any

from vitesse.arch import Backbone
from vitesse.errors import VitesseError
from vitesse.zoo.cream import STEM, Layer, Path, Slot, chain, published_path, slots_of, taken

# What changes no output of a network in evaluation, or says what is always so.
_APART = frozenset(
    {
        "drop_rate",
        "drop_path_rate",
        "act_layer",
        "se_kwargs",
        "slice",
        "pretrained",
        "bn_eps",
        "bn_momentum",
        "norm_kwargs",
    }
)
LAST = 6  # the stage that is the last convolution of the published space
_BLOCK = re.compile(r"(?P<kind>ds|ir|cn)(?:_(?:r\d+|k\d+|s\d+|e[\d.]+|c\d+|se[\d.]+))+")
_PART = re.compile(r"_(se|[rksec])([\d.]+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class CreamSettings:
    """The arguments of the published constructors, beside what they are given a network as.

    arch_def: the blocks of each stage as published strings (`ir_r1_k3_s2_e4_c24_se0.25`). arch_list: instead of them an
    encoding of the published space; of a stage with one layer its integer is not looked at, as published. last: the width
    of the last convolution of an encoding (960 in CDARTS). choices: of a supernet the kernels and ratios of each layer.
    """

    arch_def: tuple[tuple[str, ...], ...] | None = None
    arch_list: tuple[tuple[int, ...], ...] | None = None
    last: int = 320
    resolution: int = 224
    num_classes: int = 1000
    in_chans: int = 3
    stem_size: int = STEM
    num_features: int = 1280
    head_bias: bool = True
    global_pool: str = "avg"
    choices: Mapping[str, Sequence[int]] | None = None
    resunit: bool = False
    dil_conv: bool = False

    def __post_init__(self) -> None:
        for what, holds in {
            "either arch_def or arch_list": (self.arch_def is None) != (self.arch_list is None),
            "head_bias=True": self.head_bias is True,
            'global_pool="avg"': self.global_pool == "avg",
            "resunit=False and dil_conv=False (no published network has them)": not (self.resunit or self.dil_conv),
        }.items():
            if not holds:
                raise VitesseError(f"A network of Cream has {what}, but got {self}.")

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> CreamSettings:
        """The settings in `config`; VitesseError where one is unknown, impossible or not supported."""
        known = {item.name for item in fields(cls)}
        given = {name: value for name, value in config.items() if value is not None and name not in _APART}
        unknown = sorted(set(given) - known)
        if unknown:
            raise VitesseError(f"Cream has no setting {', '.join(unknown)}. It has {', '.join(sorted(known))}.")
        for name in ("arch_def", "arch_list"):
            if name in given:
                given[name] = tuple(tuple(stage) for stage in given[name])
        return cls(**given)

    def slots(self) -> list[list[Slot]]:
        """The chain of a network, one layer in each slot."""
        if self.arch_list is not None:
            try:
                path = published_path(self.arch_list)
                return taken(slots_of([len(stage) for stage in path[1:-1]], last=self.last), path)
            except (ValueError, IndexError) as error:
                raise VitesseError(f"Cream has no network of this encoding: {error}") from error
        assert self.arch_def is not None
        return [[(layer,) for text in stage for layer in _layers(text)] for stage in self.arch_def]

    def open_slots(self) -> list[list[Slot]]:
        """The chain of a supernet: each inverted residual with every kernel and ratio of `choices`.

        The published code opens all stages but the first and the seventh. So the last convolution of a shorter chain has
        candidates there, too, of which a path names the first; it has the first kernel.
        """
        choices = self.choices or {"kernel_size": (3, 5, 7), "exp_ratio": (4, 6)}
        ways = list(product(choices["kernel_size"], choices["exp_ratio"]))

        def opened(stage: int, layer: Layer) -> Slot:
            if layer.kind == "cn" and stage != LAST:
                return (replace(layer, kernel=ways[0][0]),)
            if layer.kind != "ir":
                return (layer,)
            return tuple(replace(layer, kernel=kernel, ratio=float(ratio)) for kernel, ratio in ways)

        return [[opened(s, layer) for (layer,) in stage] for s, stage in enumerate(self.slots())]

    def arch(self, slots: Sequence[Sequence[Slot]], *, skip: bool = False) -> Backbone:
        """The network or space of a chain; VitesseError where there is none."""
        try:
            return chain(
                slots, classes=self.num_classes, image=self.resolution, stem=self.stem_size, features=self.num_features,
                channels=self.in_chans, skip=skip,
            )  # fmt: skip
        except (TypeError, ValueError) as error:
            raise VitesseError(f"A network of Cream cannot be made with these settings: {error}") from error


def subnet(config: Mapping[str, Any], sampled: Mapping[str, Any]) -> Backbone:
    """The network that the published supernet runs along `sampled["path"]`; VitesseError where it has no such path."""
    settings = CreamSettings.read(config)
    path: Path = sampled.get("path", ())
    try:
        return settings.arch(taken(settings.open_slots(), path))
    except ValueError as error:
        raise VitesseError(f"The supernet has no such path: {error}") from error


def _layers(text: str) -> list[Layer]:
    """The layers of one published string, only the first of which has a stride."""
    found = _BLOCK.fullmatch(text)
    parts = {name: float(value) for name, value in _PART.findall(text)}
    ratio = parts.get("se", 0.0)
    if not found or "c" not in parts or ratio not in (0.0, 0.25) or (found["kind"] == "cn" and parts.get("s", 1) != 1):
        raise VitesseError(
            "A block of Cream is a string like ir_r1_k3_s2_e4_c24_se0.25 (ds, ir, or cn without stride; se0.25 or none), "
            f"but got {text!r}."
        )
    kind: Any = found["kind"]
    first = Layer(
        kind=kind, width=int(parts["c"]), kernel=int(parts.get("k", 3)), stride=int(parts.get("s", 1)),
        ratio=parts.get("e", 1.0) if kind == "ir" else 1.0, squeeze=ratio > 0,
    )  # fmt: skip
    return [first, *[replace(first, stride=1)] * (int(parts.get("r", 1)) - 1)]
