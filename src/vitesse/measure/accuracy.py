"""Accuracy as two whole numbers, so that uneven batches, ranks and shards add up exactly."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch


@dataclass(frozen=True, kw_only=True, slots=True)
class Accuracy:
    """How many of how many were right; starts empty and adds up: `score += top1(logits, labels)`."""

    correct: int = 0
    total: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.correct <= self.total:
            raise ValueError(f"0 <= correct <= total must hold, but got correct={self.correct}, total={self.total}.")

    def __add__(self, other: Accuracy) -> Accuracy:
        return Accuracy(correct=self.correct + other.correct, total=self.total + other.total)

    @property
    def value(self) -> float:
        """The share that was right, 0 to 1; ValueError where nothing was counted."""
        if not self.total:
            raise ValueError("An accuracy over no images has no value: count at least one batch first.")
        return self.correct / self.total

    def __float__(self) -> float:
        return self.value

    def interval(self, z: float = 1.96) -> tuple[float, float]:
        """Wilson's score interval (1927) at `z` standard errors; the default covers the true share 95 times in 100."""
        share, weight = self.value, z * z / self.total
        middle = (share + weight / 2) / (1 + weight)
        reach = z / (1 + weight) * math.sqrt(share * (1 - share) / self.total + weight / (4 * self.total))
        return max(0.0, middle - reach), min(1.0, middle + reach)

    def beats(self, chance: float) -> bool:
        """Whether it is above chance by more than luck explains; a network that fails this has learnt nothing."""
        return self.interval()[0] > chance

    def to_dict(self) -> dict[str, float | int]:
        """The figures and their interval, for JSON."""
        low, high = self.interval()
        return {"accuracy": self.value, "low": low, "high": high, "correct": self.correct, "total": self.total}


def top1(logits: torch.Tensor | np.ndarray[Any, Any], labels: torch.Tensor | np.ndarray[Any, Any]) -> Accuracy:
    """Count the images whose largest logit is at their label; both from torch, or both from numpy.

    logits (B, classes), labels (B,) whole numbers. A row that holds a NaN counts as wrong. ValueError for other shapes.
    """
    if logits.ndim != 2 or tuple(labels.shape) != (logits.shape[0],):
        raise ValueError(
            f"Logits (B, classes) and labels (B,) are needed, but got {tuple(logits.shape)} and {tuple(labels.shape)}."
        )
    whole: Any = logits == logits  # False exactly where a value is NaN
    right: Any = (logits.argmax(-1) == labels) & whole.all(-1)
    return Accuracy(correct=int(right.sum()), total=int(logits.shape[0]))


def chance_level(labels: Iterable[int]) -> float:
    """What one gets without looking at the images: the share of the most frequent label."""
    counts = Counter(int(label) for label in labels)
    if not counts:
        raise ValueError("The chance level needs at least one label.")
    return max(counts.values()) / counts.total()
