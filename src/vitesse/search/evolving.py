"""How a space evolves: what can be set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class EvolveSettings:
    """How the space moves before it is searched ("Searching the Search Space of Vision Transformer", NeurIPS 2021).

    space: whether `vitesse shrink` does it. moves: how often the whole space moves, at most. train: the length of the
    supernet's training after a move, as a share of the first one; where it is short, options that are new look worse than
    they are. samples, most_samples: networks to judge a space by, doubled from the one to the other while a dimension is
    undecided. top: the share of the best of them whose error is the top-tier error. least_cost: they cost at least this share
    of some limit, because cheaper ones are not looked for. confidence: that a dimension is not moved in the wrong direction by
    chance. threshold: the slope that is worth a step, in error (of 1). scale: the slope's unit, error for a "step" of the
    dimension or for one ("raw"). rounding: of slope over threshold ("truncate", "floor", "nearest"). rule: "trend" moves a
    whole dimension along its line, as published; "ends" widens or narrows it at each end. most_steps: that an end moves at
    once; all dimensions move together within one budget, so that long moves overshoot.
    """

    space: bool = False
    moves: int = 2
    train: float = 1.0
    samples: int = 128
    most_samples: int = 1024
    top: float = 0.05
    least_cost: float = 0.5
    confidence: float = 0.95
    threshold: float = 0.001
    scale: Literal["steps", "raw"] = "steps"
    rounding: Literal["truncate", "floor", "nearest"] = "truncate"
    rule: Literal["trend", "ends"] = "trend"
    most_steps: int = 1

    def __post_init__(self) -> None:
        rules = {
            "moves": (self.moves >= 1, "at least 1"),
            "train": (0 < self.train < float("inf"), "a positive number"),
            "samples": (self.samples >= 16, "at least 16"),
            "most_samples": (self.most_samples >= self.samples, "at least samples"),
            "top": (0 < self.top <= 1, "a share above 0, at most 1"),
            "least_cost": (0 <= self.least_cost < 1, "a share from 0 to below 1"),
            "confidence": (0 < self.confidence < 1, "between 0 and 1"),
            "threshold": (0 < self.threshold < float("inf"), "a positive number"),
            "most_steps": (self.most_steps >= 1, "at least 1"),
        }
        for field, (holds, rule) in rules.items():
            if not holds:
                raise ValueError(f"{field} must be {rule}, but got {getattr(self, field)}.")

    @property
    def looks(self) -> tuple[int, ...]:
        """How many networks there are at each look."""
        counts = [self.samples]
        while counts[-1] < self.most_samples:
            counts.append(min(2 * counts[-1], self.most_samples))
        return tuple(counts)
