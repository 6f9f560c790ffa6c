"""Convolutional operations and parts as values: MBConv, the local convolution, the convolutional stem, downsampling.

Each convolution is followed by a batch normalization, whose running statistics are buffers with axes of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from vitesse.arch.choice import QUIET, among, every, has_choice, options, require
from vitesse.arch.operation import ACTIVATIONS, Act, Down, Grid, Operation, Table, one_ratio


def conv_norm(name: str, shape: str) -> Table:
    """The parameters of a convolution without bias and its batch normalization; `shape` starts with the output's axis."""
    out = shape.partition(",")[0]
    return {f"{name}.conv.weight": shape, f"{name}.norm.weight": out, f"{name}.norm.bias": out}


def statistics(name: str, out: str) -> Table:
    """The running statistics of the batch normalization that `conv_norm` names."""
    parts = {"running_mean": out, "running_var": out, "num_batches_tracked": ""}
    return {f"{name}.norm.{part}": axes for part, axes in parts.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class MBConv(Operation):
    """Inverted residual (Sandler et al. 2018): 1x1 to `ratio` times the width, depthwise, 1x1 back, then the addition.

    The activation stands between the convolutions and once more after the addition (TinyViT, section 3.2).
    """

    map_only: ClassVar[bool] = True

    ratio: float = 4.0
    kernel: int = 3
    act: Act = "gelu"

    def __post_init__(self) -> None:
        require(
            self,
            ratio=(every(self.ratio, (int, float), 0.01, 1000), "must be a number between 0.01 and 1000"),
            kernel=(odd(self.kernel), "must be an odd integer of at least 1"),
            act=(among(self.act, *ACTIVATIONS), "must be a known activation"),
        )
        object.__setattr__(self, "ratio", one_ratio(self.ratio))

    @property
    def after(self) -> Act:
        return self.act

    def hidden(self, embed: int) -> int:
        """The width of the depthwise convolution for an embedding of this width."""
        return max(int(embed * self.ratio + 1e-6), 1)

    def axes(self) -> Table:
        return (
            conv_norm("expand", "hidden, embed, 1, 1")
            | conv_norm("depthwise", "hidden, 1, kernel, kernel")
            | conv_norm("project", "embed, hidden, 1, 1")
        )

    def buffers(self) -> Table:
        return statistics("expand", "hidden") | statistics("depthwise", "hidden") | statistics("project", "embed")

    def sizes(self, embed: int) -> dict[str, int]:
        return {"embed": embed, "hidden": self.hidden(embed), "kernel": self.kernel}

    def macs(self, embed: int, grid: Grid) -> int:
        return grid.tokens * self.hidden(embed) * (2 * embed + self.kernel**2)

    def working_set(self, embed: int, grid: Grid) -> int:
        return grid.tokens * (embed + 2 * self.hidden(embed))


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalConv(Operation):
    """A depthwise convolution that replaces the stream (TinyViT, section 3.2), or is added to it where it is `residual`."""

    map_only: ClassVar[bool] = True

    kernel: int = 3
    residual: bool = field(default=False, metadata=QUIET)

    def __post_init__(self) -> None:
        require(
            self,
            kernel=(odd(self.kernel), "must be an odd integer of at least 1"),
            residual=(among(self.residual, True, False), "must be True or False"),
        )

    def axes(self) -> Table:
        return conv_norm("depthwise", "embed, 1, kernel, kernel")

    def buffers(self) -> Table:
        return statistics("depthwise", "embed")

    def sizes(self, embed: int) -> dict[str, int]:
        return {"embed": embed, "kernel": self.kernel}

    def macs(self, embed: int, grid: Grid) -> int:
        return grid.tokens * embed * self.kernel**2

    def working_set(self, embed: int, grid: Grid) -> int:
        return grid.tokens * embed


@dataclass(frozen=True, kw_only=True, slots=True)
class Downsample(Down):
    """Halves the map on the way into a stage: 1x1 to the new width, depthwise 3x3 of stride 2, 1x1 (TinyViT, section 3.2).

    A side that is odd is rounded up. The activation stands between the convolutions.
    """

    stride: ClassVar[int] = 2

    act: Act = "gelu"

    def __post_init__(self) -> None:
        require(self, act=(among(self.act, *ACTIVATIONS), "must be a known activation"))

    def axes(self) -> Table:
        return (
            conv_norm("expand", "hidden, previous, 1, 1")
            | conv_norm("depthwise", "hidden, 1, kernel, kernel")
            | conv_norm("project", "embed, hidden, 1, 1")
        )

    def buffers(self) -> Table:
        return statistics("expand", "hidden") | statistics("depthwise", "hidden") | statistics("project", "embed")

    def sizes(self, previous: int, embed: int) -> dict[str, int]:
        return {"previous": previous, "hidden": embed, "embed": embed, "kernel": 3}

    def macs(self, previous: int, embed: int, before: Grid) -> int:
        return before.tokens * previous * embed + self.grid(before).tokens * embed * (9 + embed)

    def working_set(self, previous: int, embed: int, before: Grid) -> int:
        return before.tokens * 2 * embed


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvStem:
    """A convolutional stem: `layers` 3x3 convolutions of `stride` 2 or 1, each twice as wide as the one before.

    The last one has the width of the embedding; the activation stands between them. `image` is (height, width) in
    pixels; one integer stands for a square; any size will do. There are no extra tokens and no positions.
    """

    tokens: ClassVar[tuple[str, ...]] = ()
    first_conv: ClassVar[str] = "stem.convs.0.conv"

    image: tuple[int, int] = (224, 224)
    channels: int = 3
    layers: int = 2
    act: Act = "gelu"
    stride: int = field(default=2, metadata=QUIET)

    def __post_init__(self) -> None:
        image: Any = self.image
        object.__setattr__(self, "image", (image, image) if isinstance(image, int) else tuple(image))
        good = len(self.image) == 2 and all(every(side, int, 1) for side in self.image) and not has_choice(self.image)
        require(
            self,
            image=(good, "must be one integer or (height, width), each at least 1, and no Choice"),
            channels=(every(self.channels, int, 1), "must be an integer of at least 1"),
            layers=(every(self.layers, int, 1, 8), "must be an integer between 1 and 8"),
            act=(among(self.act, *ACTIVATIONS), "must be a known activation"),
            stride=(among(self.stride, 1, 2) and not has_choice(self.stride), "must be 1 or 2, and no Choice"),
        )

    @property
    def reduction(self) -> tuple[int, int]:
        """Pixels to a token, down and across."""
        return (self.stride**self.layers, self.stride**self.layers)

    @property
    def grid(self) -> Grid:
        """The tokens that it makes."""
        return self.grid_of(*self.image)

    def grid_of(self, height: int, width: int) -> Grid:
        """The tokens that it makes of an image of another size."""
        return Grid(height, width).reduced(self.stride**self.layers)  # rounding up at once or step by step is one

    def widths(self, embed: int) -> list[int]:
        """The output channels of each convolution, for an embedding of this width."""
        return [max(embed // 2 ** (self.layers - 1 - i), 1) for i in range(self.layers)]

    def _outs(self) -> list[str]:
        return [f"{i}.hidden" for i in range(self.layers - 1)] + ["embed"]

    def axes(self) -> Table:
        table: Table = {}
        for i, (into, out) in enumerate(zip(["channels", *self._outs()], self._outs(), strict=False)):
            table |= conv_norm(f"convs.{i}", f"{out}, {into}, kernel, kernel")
        return table

    def buffers(self) -> Table:
        table: Table = {}
        for i, out in enumerate(self._outs()):
            table |= statistics(f"convs.{i}", out)
        return table

    def sizes(self, embed: int) -> dict[str, int]:
        widths = dict(zip(self._outs(), self.widths(embed), strict=True))
        return {**widths, "channels": self.channels, "kernel": 3}

    def macs(self, embed: int) -> int:
        return sum(grid.tokens * into * out * 9 for grid, into, out in self._layers(embed))

    def working_set(self, embed: int) -> int:
        """The most elements that are alive at once for one image."""
        before, most = Grid(*self.image), 0
        for grid, into, out in self._layers(embed):
            most = max(most, before.tokens * into + grid.tokens * out)
            before = grid
        return most

    def _layers(self, embed: int) -> list[tuple[Grid, int, int]]:
        """Of each convolution the map that it makes and its channels in and out."""
        grid, found = Grid(*self.image), []
        widths = self.widths(embed)
        for into, out in zip([self.channels, *widths], widths, strict=False):
            grid = grid.reduced(self.stride)
            found.append((grid, into, out))
        return found


def odd(value: Any) -> bool:
    """Whether each thing that `value` may be is an odd integer."""
    return every(value, int, 1) and all(item % 2 == 1 for item in options(value))
