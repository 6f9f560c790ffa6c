"""Pooling and the classifier as a value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from vitesse.arch.choice import QUIET, among, every, instances, options, require
from vitesse.arch.operation import ACTIVATIONS, Act, BatchNorm, LayerNorm, Table

POOLS = ("class", "mean", "distilled", "mean_distilled")


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """Final norm, pooling, linear classifier.

    `pool`: the "class" token, the "mean" of the patches, or "distilled": the class and the distillation token have a
    classifier each, whose logits are averaged (DeiT). "mean_distilled": two classifiers, each with a norm of its own,
    read the mean of the patches, and their logits are averaged (LeViT). `norm_first` puts the norm before the pooling,
    which batch normalization and two norms cannot. `hidden`: the width of a layer between pooling and classifier, with the
    activation `act` after it (MobileNetV3, section 5.1); 0 where there is none, as with two classifiers.
    """

    classes: int = 1000
    pool: Literal["class", "mean", "distilled", "mean_distilled"] = "class"
    norm: LayerNorm | BatchNorm | None = LayerNorm()
    norm_first: bool = True
    hidden: int = field(default=0, metadata=QUIET)
    act: Act = field(default="silu", metadata=QUIET)

    def __post_init__(self) -> None:
        late = all(pool != "mean_distilled" for pool in options(self.pool)) and not any(
            isinstance(norm, BatchNorm) for norm in options(self.norm)
        )
        require(
            self,
            classes=(every(self.classes, int, 0), "must be an integer of at least 0 (0: no classifier)"),
            pool=(among(self.pool, *POOLS), f"must be one of {', '.join(POOLS)}"),
            norm=(instances(self.norm, LayerNorm, BatchNorm, type(None)), "must be a LayerNorm, a BatchNorm or None"),
            norm_first=(among(self.norm_first, True, False), "must be True or False"),
            hidden=(every(self.hidden, int, 0), "must be an integer of at least 0"),
            act=(among(self.act, *ACTIVATIONS), "must be a known activation"),
        )
        if self.hidden and not all(pool in ("class", "mean") for pool in options(self.pool)):
            raise ValueError(f"A hidden layer stands before one classifier, but got pool={self.pool!r}. Set hidden=0.")
        if not late and self.norm_first is not False:
            raise ValueError(
                "Batch normalization, and two norms, stand behind the pooling, but got "
                f"Head(pool={self.pool!r}, norm={self.norm!r}, norm_first={self.norm_first!r}). Set norm_first=False."
            )

    def _norms(self) -> tuple[str, ...]:
        if self.norm is None:
            return ()
        return ("norm", "norm_distilled") if self.pool == "mean_distilled" else ("norm",)

    def _classifiers(self) -> tuple[str, ...]:
        if not self.classes:
            return ()
        return (
            ("classifier", "classifier_distilled") if self.pool in ("distilled", "mean_distilled") else ("classifier",)
        )

    def axes(self) -> Table:
        axes = {f"{name}.{part}": "embed" for name in self._norms() for part in ("weight", "bias")}
        axes |= {"hidden.weight": "hidden, embed", "hidden.bias": "hidden"} if self.hidden else {}
        for name in self._classifiers():
            axes |= {f"{name}.weight": f"classes, {'hidden' if self.hidden else 'embed'}", f"{name}.bias": "classes"}
        return axes

    def buffers(self) -> Table:
        """What is stored with the weights but not learned: running statistics of batch normalization."""
        table: Table = {}
        for name in self._norms() if isinstance(self.norm, BatchNorm) else ():
            table |= {
                f"{name}.running_mean": "embed",
                f"{name}.running_var": "embed",
                f"{name}.num_batches_tracked": "",
            }
        return table

    def sizes(self, embed: int) -> dict[str, int]:
        return {"embed": embed, "hidden": self.hidden, "classes": self.classes}

    def width(self, embed: int) -> int:
        """Of what the classifier reads."""
        return self.hidden or embed

    def macs(self, embed: int) -> int:
        return embed * self.hidden + self.width(embed) * self.classes * len(self._classifiers())
