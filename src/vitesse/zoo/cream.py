"""The networks and the space of Cream (Peng et al., NeurIPS 2020, arXiv 2010.15821) as values: no torch.

A chain of inverted residuals as in MobileNetV3, in five stages of fixed widths, with one of six operations in each place.
CDARTS-a and -b (Yu et al., TPAMI 2023, arXiv 2006.10724) are of the same chain, with a wider last convolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal

from vitesse.arch import Backbone, Block, Choice, ConvStem, Downsample, Head, MBConv, PlainConv, Skip, Stage

Path = Sequence[Sequence[int]]
SKIP = -1  # in a path: the layer is left out


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """One layer of a chain, with `width` channels after it.

    kind: "ds" depthwise separable, "ir" an inverted residual of `ratio`, "cn" a convolution with its activation.
    """

    kind: Literal["ds", "ir", "cn"]
    width: int
    kernel: int = 3
    stride: int = 1
    ratio: float = 1.0
    squeeze: bool = True

    def block(self) -> MBConv:
        """Its value where it is added to the stream."""
        return MBConv(
            ratio=self.ratio,
            kernel=self.kernel,
            act="silu",
            expand=self.kind == "ir",
            squeeze=self.squeeze,
            act_last=False,
        )

    def down(self) -> Downsample | PlainConv:
        """Its value where it changes width or map."""
        if self.kind == "cn":
            return PlainConv(kernel=self.kernel, act="silu")
        return Downsample(
            act="silu", ratio=self.ratio, kernel=self.kernel, stride=self.stride, expand=self.kind == "ir",
            squeeze=self.squeeze,
        )  # fmt: skip


# What may stand in one place of a chain, in the order of a path's integers; None is to leave it out.
Slot = tuple[Layer, ...]

OPERATIONS = tuple(product((3, 5, 7), (4, 6)))  # (kernel, ratio) of each integer of a path
STEM = 16
WIDTHS, STRIDES = (24, 40, 80, 96, 192), (2, 2, 2, 1, 2)
# What stands in a stage of one layer in the published networks, whatever integer their encoding has there.
ALONE = (0, 2, 1, 1, 3)


def places(slots: Sequence[Sequence[Slot]], stem: int) -> Iterator[tuple[int, int, Slot, bool]]:
    """(stage, layer, slot, whether it leads into a new stage of ours) of each slot of a chain, given by its stages.

    A layer that changes neither width nor map is added to the stream; any other begins a stage.
    """
    width = stem
    for s, stage in enumerate(slots):
        for n, slot in enumerate(stage):
            first = slot[0]
            yield s, n, slot, first.kind == "cn" or first.stride > 1 or first.width != width
            width = first.width


def chain(
    slots: Sequence[Sequence[Slot]],
    *,
    classes: int,
    image: int | tuple[int, int],
    stem: int = STEM,
    features: int = 1280,
    channels: int = 3,
    skip: bool = False,
) -> Backbone:
    """The network of a chain; a space where a slot has several layers, with `skip` also nothing where that is possible.

    A 3x3 stem of `stem` channels, the chain, and a hidden layer of `features` between pooling and classifier.
    """
    stages: list[tuple[int, Any, list[Block]]] = [(stem, None, [])]  # width, what leads in, blocks
    for _, _, slot, begins in places(slots, stem):
        if begins:
            stages.append((slot[0].width, _one([layer.down() for layer in slot]), []))
        else:
            added = [layer.block() for layer in slot]
            stages[-1][2].append(Block(_one([Skip(), *added] if skip and len(slot) > 1 else added)))
    return Backbone(
        stem=ConvStem(image=image, channels=channels, layers=1, act="silu", act_last=True),  # type: ignore[arg-type]
        stages=tuple(
            Stage(dim=width, depth=len(blocks), block=tuple(blocks), down=down) for width, down, blocks in stages
        ),
        head=Head(classes=classes, pool="mean", norm=None, norm_first=False, hidden=features),
    )


def _one(values: list[Any]) -> Any:
    return Choice(*values) if len(values) > 1 else values[0]


def slots_of(depths: Sequence[int], *, last: int = 320) -> list[list[Slot]]:
    """The chain of the published space with so many layers in each of the five stages, all operations open."""
    between = [
        [_slot(width, stride if n == 0 else 1) for n in range(depth)]
        for width, stride, depth in zip(WIDTHS, STRIDES, depths, strict=True)
    ]
    return [[(Layer(kind="ds", width=STEM),)], *between, [(Layer(kind="cn", width=last, kernel=1),)]]


def _slot(width: int, stride: int) -> Slot:
    return tuple(
        Layer(kind="ir", width=width, kernel=kernel, stride=stride, ratio=float(ratio)) for kernel, ratio in OPERATIONS
    )


def taken(slots: Sequence[Sequence[Slot]], path: Path) -> list[list[Slot]]:
    """The chain along a path: one layer of each slot, none where it says -1; ValueError where it is not in the chain."""
    if len(path) != len(slots):
        raise ValueError(f"A path has a list for each of the {len(slots)} stages, but got {path}.")
    chosen: list[list[Slot]] = []
    for s, (stage, numbers) in enumerate(zip(slots, path, strict=True)):
        for n, number in enumerate(numbers):
            if n >= len(stage) or not SKIP <= number < len(stage[n]):
                raise ValueError(
                    f"A path names an operation of each layer or -1, but {path} has {number} at [{s}][{n}]."
                )
        chosen.append([(slot[number],) for slot, number in zip(stage, numbers, strict=False) if number != SKIP])
    return chosen


def path_arch(path: Path, *, classes: int = 1000, image: int = 224, last: int = 320) -> Backbone:
    """The network of a path in the published form: `[[0], s1, s2, s3, s4, s5, [0]]`, an integer for each layer.

    0 to 5 are kernel 3, 5, 7, each with ratio 4, then 6; -1 leaves a layer out, which the first of a stage cannot be. Every
    integer counts: the networks published under a rule that overrides some are `cream_14` and so on.
    """
    if any(not stage or stage[0] == SKIP for stage in path):
        raise ValueError(
            f"The first layer of a stage leads into it, so that a path cannot leave it out, but got {path}."
        )
    slots = slots_of([len(stage) for stage in path[1:-1]], last=last)
    return chain(taken(slots, path), classes=classes, image=image)


def arch_path(arch: Backbone) -> list[list[int]]:
    """The path of a network of the published space; ValueError where it is none. What was left out is not in it."""
    stages: list[list[int]] = []
    for stage in arch.stages[1:-1]:
        layers = [stage.down, *(one for block in stage.blocks for one in block.branches if not isinstance(one, Skip))]
        stages.append([_number(one) for one in layers])
    path = [[0], *stages, [0]]
    plain = replace(arch, stages=tuple(replace(s, depth=len(b), block=b) for s, b in _without_skips(arch)))
    again = path_arch(path, classes=arch.head.classes, last=arch.stages[-1].dim)
    if replace(again, stem=arch.stem) != plain:
        raise ValueError("A path describes networks of Cream's space, but this one has other widths or other parts.")
    return path


def _without_skips(arch: Backbone) -> Iterator[tuple[Stage, tuple[Block, ...]]]:
    for stage in arch.stages:
        yield stage, tuple(block for block in stage.blocks if block != Block(Skip()))


def _number(value: Any) -> int:
    kernel_ratio = (getattr(value, "kernel", None), getattr(value, "ratio", None))
    if kernel_ratio not in OPERATIONS:
        raise ValueError(f"An operation of Cream's space has one of (kernel, ratio) {OPERATIONS}, but got {value!r}.")
    return OPERATIONS.index(kernel_ratio)


def published_path(path: Path) -> list[list[int]]:
    """What a published encoding stands for: of a stage with one layer the integer is not looked at."""
    between = [[ALONE[s]] if len(stage) == 1 else list(stage) for s, stage in enumerate(path[1:-1])]
    return [list(path[0]), *between, list(path[-1])]


# The published encodings, by the networks' names.
ENCODINGS: dict[str, list[list[int]]] = {
    "cream_14": [[0], [3], [3, 3], [3, 3], [3], [3], [0]],
    "cream_43": [[0], [3], [3, 1], [3, 1], [3, 3, 3], [3, 3], [0]],
    "cream_114": [[0], [3], [3, 3], [3, 3], [3, 3, 3], [3, 3], [0]],
    "cream_287": [[0], [3], [3, 3], [3, 1, 3], [3, 3, 3, 3], [3, 3, 3], [0]],
    "cream_481": [[0], [3, 4, 3, 1], [3, 2, 3, 0], [3, 3, 3, 1, 1], [3, 3, 3, 3], [3, 3, 3, 3], [0]],
    "cream_604": [
        *([0], [3, 3, 2, 3, 3], [3, 2, 3, 2, 3], [3, 2, 3, 2, 3], [3, 3, 2, 2, 3, 3], [3, 3, 2, 3, 3, 3], [0])
    ],
    "cdarts_b": [[0], [3, 4, 2, 0], [5, 2, 4, 0], [4, 3, 2, 2], [1, 3, 0, 1], [2, 4, 4, 2], [0]],
}
ENCODINGS["cdarts_a"] = ENCODINGS["cream_287"]


def _published(name: str, classes: int, image: int, *, last: int = 320) -> Backbone:
    return path_arch(published_path(ENCODINGS[name]), classes=classes, image=image, last=last)


def cream_14(*, classes: int = 1000, image: int = 64) -> Backbone:
    """Cream with 14 million multiply-adds at 64 pixels, 2.7 million parameters."""
    return _published("cream_14", classes, image)


def cream_43(*, classes: int = 1000, image: int = 96) -> Backbone:
    """Cream with 43 million multiply-adds at 96 pixels, 4.4 million parameters."""
    return _published("cream_43", classes, image)


def cream_114(*, classes: int = 1000, image: int = 160) -> Backbone:
    """Cream with 114 million multiply-adds at 160 pixels, 4.4 million parameters."""
    return _published("cream_114", classes, image)


def cream_287(*, classes: int = 1000, image: int = 224) -> Backbone:
    """Cream-S, 287 million multiply-adds, 6 million parameters."""
    return _published("cream_287", classes, image)


def cream_481(*, classes: int = 1000, image: int = 224) -> Backbone:
    """Cream-M, 481 million multiply-adds, 7.7 million parameters."""
    return _published("cream_481", classes, image)


def cream_604(*, classes: int = 1000, image: int = 224) -> Backbone:
    """Cream-L, 604 million multiply-adds, 9.7 million parameters."""
    return _published("cream_604", classes, image)


def cdarts_a(*, classes: int = 1000, image: int = 224) -> Backbone:
    """CDARTS-a, 294 million multiply-adds, 7 million parameters: the path of Cream-S with a last convolution of 960."""
    return _published("cdarts_a", classes, image, last=960)


def cdarts_b(*, classes: int = 1000, image: int = 224) -> Backbone:
    """CDARTS-b, 394 million multiply-adds, 6.4 million parameters."""
    return _published("cdarts_b", classes, image, last=960)
