"""The two-layer perceptron of a transformer block as a value."""

from __future__ import annotations

from dataclasses import dataclass, field

from vitesse.arch.choice import QUIET, among, every, instances, require
from vitesse.arch.operation import ACTIVATIONS, Act, Grid, LayerNorm, Operation, one_ratio


@dataclass(frozen=True, kw_only=True, slots=True)
class MLP(Operation):
    """Linear, activation, linear; the hidden width is `ratio` times the embedding, rounded down, at least 1.

    `post_norm` puts the norm behind it instead of before it (SwinV2).
    """

    ratio: float = 4.0
    act: Act = "gelu"
    bias: bool = True
    post_norm: bool = field(default=False, metadata=QUIET)
    layer_scale: bool = False
    norm: LayerNorm | None = LayerNorm()

    def __post_init__(self) -> None:
        require(
            self,
            ratio=(every(self.ratio, (int, float), 0.01, 1000), "must be a number between 0.01 and 1000"),
            act=(among(self.act, *ACTIVATIONS), "must be a known activation"),
            bias=(among(self.bias, True, False), "must be True or False"),
            post_norm=(among(self.post_norm, True, False), "must be True or False"),
            layer_scale=(among(self.layer_scale, True, False), "must be True or False"),
            norm=(instances(self.norm, LayerNorm, type(None)), "must be a LayerNorm or None"),
        )
        object.__setattr__(self, "ratio", one_ratio(self.ratio))

    def hidden(self, embed: int) -> int:
        """The hidden width for an embedding of this width."""
        # The nudge keeps exact widths exact where the ratio was itself computed as hidden / embed.
        return max(int(embed * self.ratio + 1e-6), 1)

    def axes(self) -> dict[str, str]:
        axes = {"fc1.weight": "hidden, embed", "fc2.weight": "embed, hidden"}
        return axes | ({"fc1.bias": "hidden", "fc2.bias": "embed"} if self.bias else {})

    def sizes(self, embed: int) -> dict[str, int]:
        return {"embed": embed, "hidden": self.hidden(embed)}

    def macs(self, embed: int, grid: Grid) -> int:
        return 2 * grid.tokens * embed * self.hidden(embed)

    def working_set(self, embed: int, grid: Grid) -> int:
        return grid.tokens * (embed + 2 * self.hidden(embed))
