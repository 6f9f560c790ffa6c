"""Pooling and the classifier as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vitesse.arch.choice import among, every, instances, require
from vitesse.arch.operation import LayerNorm, Table


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """Final norm, pooling, linear classifier.

    `pool`: the "class" token, the "mean" of the patches, or "distilled": the class and the distillation token have a
    classifier each, whose logits are averaged (DeiT). `norm_first` puts the norm before the pooling.
    """

    classes: int = 1000
    pool: Literal["class", "mean", "distilled"] = "class"
    norm: LayerNorm | None = LayerNorm()
    norm_first: bool = True

    def __post_init__(self) -> None:
        require(
            self,
            classes=(every(self.classes, int, 0), "must be an integer of at least 0 (0: no classifier)"),
            pool=(among(self.pool, "class", "mean", "distilled"), 'must be "class", "mean" or "distilled"'),
            norm=(instances(self.norm, LayerNorm, type(None)), "must be a LayerNorm or None"),
            norm_first=(among(self.norm_first, True, False), "must be True or False"),
        )

    def axes(self) -> dict[str, str]:
        axes = {} if self.norm is None else {"norm.weight": "embed", "norm.bias": "embed"}
        if self.classes:
            names = ("classifier", "classifier_distilled") if self.pool == "distilled" else ("classifier",)
            for name in names:
                axes |= {f"{name}.weight": "classes, embed", f"{name}.bias": "classes"}
        return axes

    def sizes(self, embed: int) -> dict[str, int]:
        return {"embed": embed, "classes": self.classes}

    def macs(self, embed: int) -> int:
        return embed * self.classes * (2 if self.pool == "distilled" else 1)

    def buffers(self) -> Table:
        """What is stored with the weights but not learned: nothing."""
        return {}
