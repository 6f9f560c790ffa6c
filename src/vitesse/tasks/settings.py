"""What a student is told in a step: the terms of its loss and their weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vitesse.errors import UsageError

TAUGHT = 0.8  # the teacher's share where a classifier teaches and nothing is set


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """The terms' weights as they apply to one teacher and one data set."""

    labels: float
    logits: float = 0.0
    attention: float = 0.0
    hidden: float = 0.0
    features: float = 0.0
    auxiliary: float = 0.0

    @property
    def deep(self) -> bool:
        """Whether more is asked of the teacher than its logits."""
        return self.attention + self.hidden + self.features > 0


@dataclass(frozen=True, kw_only=True, slots=True)
class DistillSettings:
    """The loss of a step: weight times term, summed.

    labels: cross-entropy with the labels. logits: what the teacher says. attention: relations of q, k, v. hidden: hidden
    states after whole layers. features: the encoders' last features. auxiliary: cross-entropy of a second classifier within
    a network of cells, which is trained with it and, unless it is the network's own, dropped at the end. None: without a
    teacher the labels alone; from a teacher that knows the classes 0.8 logits and the rest labels; from one that knows none,
    features and labels.

    temperature, form: of the logits; temperature None is 2, or 1 for a store that leaves classes out; form
    "cross_entropy" is not multiplied by temperature^2. pairs: of q, k, v that are
    related, such as "qk". relation_heads: into which the relations divide both widths. layers, teacher_layers: from 0, in
    order; empty: every second of the student's, ending with the last, and the teacher's at the same relative depth.
    hidden_form: "relation" (cosine similarities between tokens) or "l2" (through a projection). feature_form: "cosine",
    "l2" (through a projection to the teacher's width) or "relation". feature_of: the "map", to which the teacher's is
    resized, or the "pooled" vector. student_module, teacher_module: names of modules whose output stands for the features.
    """

    labels: float | None = None
    logits: float | None = None
    attention: float = 0.0
    hidden: float = 0.0
    features: float | None = None
    auxiliary: float = 0.0
    temperature: float | None = None
    form: Literal["divergence", "cross_entropy"] = "divergence"
    pairs: tuple[str, ...] = ("qq", "kk", "vv")
    relation_heads: int = 1
    layers: tuple[int, ...] = ()
    teacher_layers: tuple[int, ...] = ()
    hidden_form: Literal["relation", "l2"] = "relation"
    feature_form: Literal["cosine", "l2", "relation"] = "cosine"
    feature_of: Literal["map", "pooled"] = "map"
    student_module: str = ""
    teacher_module: str = ""

    def __post_init__(self) -> None:
        for name in ("labels", "logits", "attention", "hidden", "features", "auxiliary"):
            weight = getattr(self, name)
            if weight is not None and not 0 <= weight < float("inf"):
                raise UsageError(f"distill.{name} is a weight of at least 0, but got {weight}.")
        if (self.temperature is not None and not self.temperature > 0) or self.relation_heads < 1:
            raise UsageError(
                "distill.temperature must be above 0 and relation_heads at least 1, but got "
                f"{self.temperature} and {self.relation_heads}."
            )
        if not self.pairs or any(len(pair) != 2 or set(pair) - set("qkv") for pair in self.pairs):
            raise UsageError(f"distill.pairs must name two of q, k, v each, such as qq or qk, but got {self.pairs}.")
        if self.teacher_layers and len(self.teacher_layers) != len(self.layers):
            raise UsageError(
                "distill.teacher_layers must name one layer for each of distill.layers, but got "
                f"{self.teacher_layers} for {self.layers}."
            )

    def weights(self, *, teacher: Literal["none", "classifier", "encoder"], labelled: bool = True) -> Weights:
        """The weights for this kind of teacher and for data with labels or without; UsageError where they contradict."""
        if not labelled and (self.labels or self.logits or self.auxiliary):
            raise UsageError(
                "Images without labels have no classes, so distill.labels, distill.logits and distill.auxiliary must be unset "
                f"or 0, but got {self.labels}, {self.logits} and {self.auxiliary}. Give distill.features a weight instead."
            )
        if teacher == "none":
            asked = [name for name in ("logits", "attention", "hidden", "features") if getattr(self, name)]
            if asked:
                named = ", ".join(f"distill.{name}" for name in asked)
                raise UsageError(f"{named}: this needs a teacher, but none is named. Give --teacher, or set it to 0.")
            return Weights(labels=1.0, auxiliary=self.auxiliary)
        if teacher == "encoder":
            if self.logits:
                raise UsageError(
                    f"distill.logits is {self.logits}, but this teacher knows no classes. Set it to 0, or have the teacher "
                    'learn the classes first: teacher.role = "classifier".'
                )
            logits, features = 0.0, 1.0 if self.features is None else self.features
            labels = float(labelled) if self.labels is None else self.labels
        else:
            logits, features = TAUGHT if self.logits is None else self.logits, self.features or 0.0
            labels = max(0.0, 1.0 - logits) if self.labels is None else self.labels
        if not labels + logits + self.attention + self.hidden + features:
            raise UsageError("A student must be told something, but all weights of distill are 0. Raise one of them.")
        deep = {"attention": self.attention, "hidden": self.hidden, "features": features}
        return Weights(labels=labels, logits=logits, auxiliary=self.auxiliary, **deep)
