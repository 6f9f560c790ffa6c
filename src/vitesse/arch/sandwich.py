"""What stands around the attention of EfficientViT as values: a perceptron of convolutions, and the way into a stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vitesse.arch.choice import among, every, require
from vitesse.arch.convolution import conv_norm, scaled, squeeze_excite, squeezed, statistics
from vitesse.arch.operation import ACTIVATIONS, Act, Down, Grid, Operation, Table, one_ratio


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvMLP(Operation):
    """1x1 convolution to `ratio` times the width, activation, 1x1 back, each with batch normalization."""

    map_only: ClassVar[bool] = True

    ratio: float = 2.0
    act: Act = "relu"

    def __post_init__(self) -> None:
        require(
            self,
            ratio=(every(self.ratio, (int, float), 0.01, 1000), "must be a number between 0.01 and 1000"),
            act=(among(self.act, *ACTIVATIONS), "must be a known activation"),
        )
        object.__setattr__(self, "ratio", one_ratio(self.ratio))

    def hidden(self, embed: int) -> int:
        """The width between the convolutions for an embedding of this width."""
        return scaled(self.ratio, embed)

    def axes(self) -> Table:
        return conv_norm("expand", "hidden, embed, 1, 1") | conv_norm("project", "embed, hidden, 1, 1")

    def buffers(self) -> Table:
        return statistics("expand", "hidden") | statistics("project", "embed")

    def sizes(self, embed: int) -> dict[str, int]:
        return {"embed": embed, "hidden": self.hidden(embed)}

    def macs(self, embed: int, grid: Grid) -> int:
        return 2 * grid.tokens * embed * self.hidden(embed)

    def working_set(self, embed: int, grid: Grid) -> int:
        return grid.tokens * (embed + 2 * self.hidden(embed))


@dataclass(frozen=True, kw_only=True, slots=True)
class SandwichDownsample(Down):
    """Halves the map on the way into a stage, between two halves of a sandwich (EfficientViT, figure 2).

    A 3x3 depthwise convolution and a ConvMLP of `mlp_ratio`, both added to the stream; 1x1 to `ratio` times the width
    before, depthwise 3x3 of stride 2, squeeze-excitation to a quarter (a multiple of 8), 1x1 to the new width; then once
    more what came first. A side that is odd is rounded up.
    """

    ratio: float = 4.0
    mlp_ratio: float = 2.0
    act: Act = "relu"

    def __post_init__(self) -> None:
        number = "must be a number between 0.01 and 1000"
        require(
            self,
            ratio=(every(self.ratio, (int, float), 0.01, 1000), number),
            mlp_ratio=(every(self.mlp_ratio, (int, float), 0.01, 1000), number),
            act=(among(self.act, *ACTIVATIONS), "must be a known activation"),
        )
        for name in ("ratio", "mlp_ratio"):
            object.__setattr__(self, name, one_ratio(getattr(self, name)))

    def axes(self) -> Table:
        table = (
            conv_norm("expand", "hidden, previous, 1, 1")
            | conv_norm("depthwise", "hidden, 1, kernel, kernel")
            | squeeze_excite("squeeze", "hidden")
            | conv_norm("project", "embed, hidden, 1, 1")
        )
        for side, stream in _SIDES.items():
            table |= conv_norm(f"{side}_local", f"{stream}, 1, kernel, kernel")
            table |= conv_norm(f"{side}_mlp.expand", f"{side}.hidden, {stream}, 1, 1")
            table |= conv_norm(f"{side}_mlp.project", f"{stream}, {side}.hidden, 1, 1")
        return table

    def buffers(self) -> Table:
        table = statistics("expand", "hidden") | statistics("depthwise", "hidden") | statistics("project", "embed")
        for side, stream in _SIDES.items():
            table |= statistics(f"{side}_local", stream) | statistics(f"{side}_mlp.project", stream)
            table |= statistics(f"{side}_mlp.expand", f"{side}.hidden")
        return table

    def sizes(self, previous: int, embed: int) -> dict[str, int]:
        hidden = scaled(self.ratio, previous)
        own = {"hidden": hidden, "squeeze.hidden": squeezed(hidden), "kernel": 3}
        mlps = {"before.hidden": scaled(self.mlp_ratio, previous), "after.hidden": scaled(self.mlp_ratio, embed)}
        return {"previous": previous, "embed": embed, **own, **mlps}

    def macs(self, previous: int, embed: int, before: Grid) -> int:
        sizes, after = self.sizes(previous, embed), self.grid(before)
        hidden = sizes["hidden"]
        halves = before.tokens * previous * (9 + 2 * sizes["before.hidden"])
        halves += after.tokens * embed * (9 + 2 * sizes["after.hidden"])
        merging = before.tokens * previous * hidden + after.tokens * hidden * (9 + embed)
        return halves + merging + 2 * hidden * sizes["squeeze.hidden"]

    def working_set(self, previous: int, embed: int, before: Grid) -> int:
        sizes = self.sizes(previous, embed)
        return before.tokens * (previous + 2 * max(sizes["hidden"], sizes["before.hidden"]))


_SIDES = {"before": "previous", "after": "embed"}
