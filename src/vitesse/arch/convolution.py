"""Convolutional operations as values, and what leads into a stage: MBConv, local convolution, downsampling, one convolution.

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


def squeeze_excite(name: str, axis: str) -> Table:
    """The parameters of a gate for each channel of an axis, which the means of all decide through fewer."""
    few = f"{name}.hidden"
    return {
        f"{name}.reduce.weight": f"{few}, {axis}, 1, 1",
        f"{name}.reduce.bias": few,
        f"{name}.restore.weight": f"{axis}, {few}, 1, 1",
        f"{name}.restore.bias": axis,
    }


def squeezed(hidden: int, *, least: float = 0.0) -> int:
    """A quarter of a width, as the nearest multiple of 8, at least 8 and at least the share `least` of the quarter."""
    near = max(8, int(hidden / 4 + 4) // 8 * 8)
    return near + 8 if near < least * hidden / 4 else near


def scaled(ratio: float, width: int) -> int:
    """`ratio` times a width, rounded down, at least 1."""
    # The nudge keeps exact widths exact where the ratio was itself computed as a quotient.
    return max(int(width * ratio + 1e-6), 1)


# Of a quarter the squeezed width is at least so much (MobileNetV3; Howard et al. 2019).
LEAST = 0.9
_FLAGS = ("expand", "squeeze", "act_last")


@dataclass(frozen=True, kw_only=True, slots=True)
class MBConv(Operation):
    """Inverted residual (Sandler et al. 2018): 1x1 to `ratio` times the width, depthwise, 1x1 back, then the addition.

    The activation stands between the convolutions and, with `act_last`, once more after the addition (TinyViT, section
    3.2). `squeeze`: before the last convolution each channel is gated by what the means of all say, through a quarter of
    them (MobileNetV3, section 5.3). Without `expand` it is depthwise separable: the first convolution is not there, and the
    ratio is 1.
    """

    map_only: ClassVar[bool] = True

    ratio: float = 4.0
    kernel: int = 3
    act: Act = "gelu"
    expand: bool = field(default=True, metadata=QUIET)
    squeeze: bool = field(default=False, metadata=QUIET)
    act_last: bool = field(default=True, metadata=QUIET)

    def __post_init__(self) -> None:
        flags = {name: (among(getattr(self, name), True, False), "must be True or False") for name in _FLAGS}
        require(
            self,
            ratio=(every(self.ratio, (int, float), 0.01, 1000), "must be a number between 0.01 and 1000"),
            kernel=(odd(self.kernel), "must be an odd integer of at least 1"),
            act=(among(self.act, *ACTIVATIONS), "must be a known activation"),
            **flags,
        )
        object.__setattr__(self, "ratio", one_ratio(self.ratio))
        _require_separable(self)

    @property
    def after(self) -> Act | None:
        return self.act if self.act_last else None

    def hidden(self, embed: int) -> int:
        """The width of the depthwise convolution for an embedding of this width."""
        return scaled(self.ratio, embed)

    def axes(self) -> Table:
        # Without the first convolution the channels within are the stream's: what a slice keeps of them is one.
        inside = "hidden" if self.expand else "embed"
        table = conv_norm("expand", "hidden, embed, 1, 1") if self.expand else {}
        table |= conv_norm("depthwise", f"{inside}, 1, kernel, kernel")
        table |= squeeze_excite("squeeze", inside) if self.squeeze else {}
        return table | conv_norm("project", f"embed, {inside}, 1, 1")

    def buffers(self) -> Table:
        table = statistics("expand", "hidden") if self.expand else {}
        return table | statistics("depthwise", "hidden" if self.expand else "embed") | statistics("project", "embed")

    def sizes(self, embed: int) -> dict[str, int]:
        hidden = self.hidden(embed)
        few = {"squeeze.hidden": squeezed(hidden, least=LEAST)}
        return {"embed": embed, "hidden": hidden, "kernel": self.kernel, **few}

    def macs(self, embed: int, grid: Grid) -> int:
        sizes, convs = self.sizes(embed), 2 if self.expand else 1
        gates = 2 * sizes["hidden"] * sizes["squeeze.hidden"] if self.squeeze else 0
        return grid.tokens * sizes["hidden"] * (convs * embed + self.kernel**2) + gates

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
    """Reduces the map on the way into a stage: 1x1, depthwise with `stride`, 1x1 to the new width (TinyViT, section 3.2).

    Between the convolutions it is `ratio` times as wide as the stage before; where that is None, as wide as the new one. A
    side that does not divide is rounded up. The activation stands between the convolutions, and `squeeze` is that of
    `MBConv`: with both it is the first block of a stage of MobileNetV3. Without `expand` the first convolution is not there,
    and the ratio is 1.
    """

    act: Act = "gelu"
    ratio: float | None = field(default=None, metadata=QUIET)
    kernel: int = field(default=3, metadata=QUIET)
    stride: int = field(default=2, metadata=QUIET)
    expand: bool = field(default=True, metadata=QUIET)
    squeeze: bool = field(default=False, metadata=QUIET)

    def __post_init__(self) -> None:
        number = self.ratio is None or every(self.ratio, (int, float), 0.01, 1000)
        require(
            self,
            act=(among(self.act, *ACTIVATIONS), "must be a known activation"),
            ratio=(number, "must be a number between 0.01 and 1000, or None"),
            kernel=(odd(self.kernel), "must be an odd integer of at least 1"),
            stride=(
                type(self.stride) is int and 1 <= self.stride <= 8,
                "must be an integer between 1 and 8, no Choice",
            ),
            expand=(among(self.expand, True, False), "must be True or False"),
            squeeze=(among(self.squeeze, True, False), "must be True or False"),
        )
        if self.ratio is not None:
            object.__setattr__(self, "ratio", one_ratio(self.ratio))
        _require_separable(self)

    def axes(self) -> Table:
        inside = "hidden" if self.expand else "previous"
        table = conv_norm("expand", "hidden, previous, 1, 1") if self.expand else {}
        table |= conv_norm("depthwise", f"{inside}, 1, kernel, kernel")
        table |= squeeze_excite("squeeze", inside) if self.squeeze else {}
        return table | conv_norm("project", f"embed, {inside}, 1, 1")

    def buffers(self) -> Table:
        table = statistics("expand", "hidden") if self.expand else {}
        return table | statistics("depthwise", "hidden" if self.expand else "previous") | statistics("project", "embed")

    def sizes(self, previous: int, embed: int) -> dict[str, int]:
        hidden = embed if self.ratio is None else scaled(self.ratio, previous)
        few = {"squeeze.hidden": squeezed(hidden, least=LEAST)}
        return {"previous": previous, "hidden": hidden, "embed": embed, "kernel": self.kernel, **few}

    def macs(self, previous: int, embed: int, before: Grid) -> int:
        sizes = self.sizes(previous, embed)
        hidden, after = sizes["hidden"], self.grid(before)
        gates = 2 * hidden * sizes["squeeze.hidden"] if self.squeeze else 0
        expanding = before.tokens * previous * hidden if self.expand else 0
        return expanding + after.tokens * hidden * (self.kernel**2 + embed) + gates

    def working_set(self, previous: int, embed: int, before: Grid) -> int:
        return before.tokens * 2 * self.sizes(previous, embed)["hidden"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PlainConv(Down):
    """Another width on the way into a stage: one convolution with its activation; the map stays as it is."""

    stride = 1

    kernel: int = 1
    act: Act = "silu"

    def __post_init__(self) -> None:
        require(
            self,
            kernel=(odd(self.kernel), "must be an odd integer of at least 1"),
            act=(among(self.act, *ACTIVATIONS), "must be a known activation"),
        )

    def axes(self) -> Table:
        return conv_norm("project", "embed, previous, kernel, kernel")

    def buffers(self) -> Table:
        return statistics("project", "embed")

    def sizes(self, previous: int, embed: int) -> dict[str, int]:
        return {"previous": previous, "embed": embed, "kernel": self.kernel}

    def macs(self, previous: int, embed: int, before: Grid) -> int:
        return before.tokens * previous * embed * self.kernel**2

    def working_set(self, previous: int, embed: int, before: Grid) -> int:
        return before.tokens * embed


def _require_separable(value: MBConv | Downsample) -> None:
    """Raise ValueError unless the ratio is 1 where the first convolution is left out."""
    if has_choice(value.expand) or (value.expand is False and value.ratio != 1.0):
        kind = type(value).__name__
        raise ValueError(
            f"{kind}.expand is no Choice, and without the first convolution the ratio is 1, but got "
            f"expand={value.expand!r} and ratio={value.ratio!r}. Set ratio=1.0, or choose between two {kind}."
        )


def odd(value: Any) -> bool:
    """Whether each thing that `value` may be is an odd integer."""
    return every(value, int, 1) and all(item % 2 == 1 for item in options(value))
