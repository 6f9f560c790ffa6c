"""How a network is trained: schedule, optimizer, precision. One value serves every stage that trains."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainSettings:
    """Hyperparameters of one training.

    epochs: passes over the data; 0 for as many as make about `steps` updates, but no fewer than 10.
    batch: images a step over all processes. lr: the peak rate, for this batch; it rises from start_lr and falls to min_lr
    along a cosine. drops: the shares of all steps at which the rate falls to a tenth, instead of the cosine and min_lr.
    optimizer: a name that timm knows. eps: what it adds to the size of a gradient; 0 for its own default. layer_decay: how
    much smaller the rate is from each layer to the one before it, for tuning what was trained; 1 for one rate.
    warmup: the share of all steps in which the rate rises. warmup_steps: their number instead, of which no more than a tenth
    of all steps is taken; 0 for the share. ema: decay of averaged weights, which are then what is evaluated and kept; 0 for
    none. clip: greatest gradient norm, 0 for none. clip_mode: whose norm: "norm", that of all gradients together, or
    "adaptive", that of each unit of a layer, as a share of its weights' norm (Brock et al. 2021). accumulate: parts into which
    a batch is split to save memory. drop_path: the rate of stochastic depth, as `build` has it. drop_path_rise: whether all
    rates rise from 0 to theirs over the training, step by step (DARTS). evaluate_every: epochs between two looks at the
    accuracy. frozen_statistics: batch normalization keeps the running statistics it has, as for tuning what was trained.
    """

    epochs: int = 0
    steps: int = 2000
    batch: int = 64
    lr: float = 1e-3
    start_lr: float = 1e-6
    min_lr: float = 1e-6
    warmup: float = 0.1
    warmup_steps: int = 0
    drops: tuple[float, ...] = ()
    optimizer: str = "adamw"
    eps: float = 0.0
    weight_decay: float = 0.05
    layer_decay: float = 1.0
    clip: float = 1.0
    clip_mode: Literal["norm", "adaptive"] = "norm"
    accumulate: int = 1
    drop_path: float = 0.0
    drop_path_rise: bool = False
    frozen_statistics: bool = False
    ema: float = 0.0
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = 0
    evaluate_every: int = 5
    checkpoint_seconds: float = 20.0

    def __post_init__(self) -> None:
        rules = {
            "epochs": (self.epochs >= 0, "at least 0 (0: by steps)"),
            "steps": (self.steps >= 1, "at least 1"),
            "batch": (self.batch >= 1, "at least 1"),
            "lr": (0 < self.lr < float("inf"), "a positive number"),
            "min_lr": (0 <= self.min_lr <= self.lr, "between 0 and lr"),
            "start_lr": (0 <= self.start_lr <= self.lr, "between 0 and lr"),
            "warmup": (0 <= self.warmup < 1, "a share of the steps, from 0 to below 1"),
            "warmup_steps": (self.warmup_steps >= 0, "at least 0 (0: by the share)"),
            "drops": (
                all(a < b for a, b in pairwise((0.0, *self.drops, 1.0))),
                "shares of the steps, between 0 and 1 and in order",
            ),
            "eps": (self.eps >= 0, "at least 0 (0: the optimizer's default)"),
            "weight_decay": (self.weight_decay >= 0, "at least 0"),
            "layer_decay": (0 < self.layer_decay <= 1, "above 0 and at most 1 (1: one rate for all layers)"),
            "clip": (self.clip >= 0, "at least 0 (0: no clipping)"),
            "clip_mode": (self.clip_mode in ("norm", "adaptive"), '"norm" or "adaptive"'),
            "accumulate": (1 <= self.accumulate <= self.batch, "between 1 and the batch"),
            "precision": (self.precision in ("fp32", "bf16"), '"fp32" or "bf16"'),
            "drop_path": (0 <= self.drop_path < 1, "from 0 to below 1"),
            "ema": (0 <= self.ema < 1, "from 0 (none) to below 1"),
            "evaluate_every": (self.evaluate_every >= 1, "at least 1"),
            "checkpoint_seconds": (self.checkpoint_seconds >= 0, "at least 0"),
        }
        for field, (holds, rule) in rules.items():
            if not holds:
                raise ValueError(f"{field} must be {rule}, but got {getattr(self, field)}.")

    def epochs_of(self, steps_per_epoch: int) -> int:
        """How many passes over data of so many batches this training makes."""
        return self.epochs or max(10, round(self.steps / steps_per_epoch))

    def warmup_of(self, steps: int) -> int:
        """In how many of all steps the rate rises."""
        return min(self.warmup_steps, steps // 10) if self.warmup_steps else int(self.warmup * steps)
