"""The convolutional stem as a value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from vitesse.arch.choice import QUIET, among, every, has_choice, require
from vitesse.arch.convolution import conv_norm, statistics
from vitesse.arch.operation import ACTIVATIONS, Act, Grid, Table


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvStem:
    """A convolutional stem: `layers` 3x3 convolutions of `stride` 2 or 1, each twice as wide as the one before.

    The last one has the width of the embedding; the activation stands between them and, with `act_last`, after the last.
    `image` is (height, width) in pixels; one integer stands for a square; any size will do. There are no extra tokens and
    no positions.
    """

    tokens: ClassVar[tuple[str, ...]] = ()
    first_conv: ClassVar[str] = "stem.convs.0.conv"

    image: tuple[int, int] = (224, 224)
    channels: int = 3
    layers: int = 2
    act: Act = "gelu"
    act_last: bool = field(default=False, metadata=QUIET)
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
            act_last=(among(self.act_last, True, False), "must be True or False"),
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
