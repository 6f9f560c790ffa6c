"""How a cyclic search goes, and when it does what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from vitesse.losses.interaction import Distance, Reduction, penalty_weight

Phase = Literal["pretrain", "warmup", "joint"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CyclicSettings:
    """The cyclic search (CDARTS, TPAMI 2023). How long, at which rate and in which batches is the supernet's `train`, whose
    `evaluate_every` counts cycles.

    cycles: how often what the search network believes becomes the architecture of the evaluation network. pretrain: the
    share of all steps in which the search network learns alone. warmup: the share of each cycle in which the evaluation
    network does. explore: the share of the evaluation network's steps in which it runs a network drawn from what is
    believed instead of the likeliest, so that more of its weights learn; 0 as published.
    alpha_lr: the rate of the architecture parameters (Adam, betas 0.5 and 0.999). penalty: of those of operations
    without parameters, times the sum of their sizes; it falls from cycle to cycle, to 0 at the share `penalty_until` of them.
    repeat: whether all blocks take one decision, as in a network of equal cells; a space of cells says so itself.
    weight: of the interaction against the two networks' own losses, which are divided by it. distance, temperature,
    reduction: of the interaction (`losses.interaction`). ensemble: whether the three answers of a network are compared
    one by one ("concat") or as their sum. embedding: channels within the heads that make answers of features.
    fixed_heads: leave those heads as they begin. detach: the evaluation network is not pulled towards the search network.
    rate: "cosine", as of any training, or "constant". reset_optimizers: forget momentum and moments at each cycle, as
    published: else Adam's second moment, in which the penalty is large, holds what was penalized where it is for long after.
    clip_over: whose gradient norm is clipped: of what the step moves, or of "all" that has any gradient, even an old one.
    The published code has rate="constant", clip_over="all" and reduction="mean".
    """

    cycles: int = 30
    pretrain: float = 0.0625
    warmup: float = 0.25
    explore: float = 0.0
    alpha_lr: float = 3e-3
    penalty: float = 5.0
    penalty_until: float = 0.667
    repeat: bool = False
    weight: float = 1.0
    distance: Distance = "smooth_l1"
    temperature: float = 2.0
    reduction: Reduction = "batchmean"
    ensemble: Literal["concat", "sum"] = "concat"
    embedding: tuple[int, int] = (128, 768)
    fixed_heads: bool = False
    detach: bool = False
    rate: Literal["cosine", "constant"] = "cosine"
    reset_optimizers: bool = True
    clip_over: Literal["stepped", "all"] = "stepped"

    def __post_init__(self) -> None:
        rules = {
            "cycles": (self.cycles >= 1, "at least 1"),
            "pretrain": (0 <= self.pretrain < 1, "a share of the steps, from 0 to below 1"),
            "warmup": (0 <= self.warmup < 1, "a share of a cycle, from 0 to below 1"),
            "explore": (0 <= self.explore <= 1, "a share of the steps, from 0 to 1"),
            "alpha_lr": (0 < self.alpha_lr < float("inf"), "a positive number"),
            "penalty": (self.penalty >= 0, "at least 0"),
            "penalty_until": (0 < self.penalty_until <= 1, "a share of the steps, above 0 and at most 1"),
            "weight": (self.weight > 0, "a positive number"),
            "temperature": (self.temperature > 0, "a positive number"),
            "embedding": (min(self.embedding) >= 1, "two numbers of channels"),
        }
        for field, (holds, rule) in rules.items():
            if not holds:
                raise ValueError(f"{field} must be {rule}, but got {getattr(self, field)}.")


class Moment(NamedTuple):
    """Where a step lies: its phase, its cycle (from 0; of pretraining -1), and whether a cycle begins with it."""

    phase: Phase
    cycle: int
    begins: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What each of `steps` steps is for."""

    settings: CyclicSettings
    steps: int

    @property
    def pretrain(self) -> int:
        """Steps before the first cycle."""
        return int(self.settings.pretrain * self.steps)

    @property
    def cycles(self) -> int:
        """As set, but no more than there are steps."""
        return max(1, min(self.settings.cycles, self.steps - self.pretrain))

    def begin(self, cycle: int) -> int:
        """The first step of a cycle."""
        return self.pretrain + (self.steps - self.pretrain) * cycle // self.cycles

    def moment(self, step: int) -> Moment:
        """What a step is for."""
        if step < self.pretrain:
            return Moment("pretrain", -1, begins=False)
        # The inverse of `begin`: the last cycle that begins at this step or before it.
        cycle = ((step - self.pretrain + 1) * self.cycles - 1) // (self.steps - self.pretrain)
        first, end = self.begin(cycle), self.begin(cycle + 1)
        warm = first + int(self.settings.warmup * (end - first))
        return Moment("warmup" if step < warm else "joint", cycle, begins=step == first)

    def penalty(self, cycle: int) -> float:
        """The coefficient of the penalty in a cycle."""
        return penalty_weight(
            cycle, first=0, cycles=self.cycles, share=self.settings.penalty_until, initial=self.settings.penalty
        )
