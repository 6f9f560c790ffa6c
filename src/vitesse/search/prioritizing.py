"""Prioritized paths: what can be set."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from vitesse.search.board import Rule


@dataclass(frozen=True, kw_only=True, slots=True)
class PrioritizedSettings:
    """How the best paths met so far teach the others in a supernet's training ("Cream of the Crop", NeurIPS 2020).

    rule: "paper", or "published" for what the released code does where it differs (docs/methods.md). size: how many paths
    the board has room for. begin: the share of the training before the first path enters. teacher: who teaches a path,
    whom the meta network rates best for it ("meta") or always the best of the board ("top1"). references: images by which
    it is rated. every: steps between two lessons of the meta network; meta_lr: its rate. sampling: how paths are drawn, each
    decision "uniform", as often as on the "board", or with "fixed" probabilities, one for each option of those choices
    that have so many. held_out: images of the learn part, an eighth of it at most, that are not learned but tell how
    accurate a path is ("published" takes the training batch). refresh: steps after which the whole board is looked at again.
    """

    rule: Rule = "paper"
    size: int = 10
    begin: float = 0.17
    teacher: Literal["meta", "top1"] = "meta"
    references: int = 4
    every: int = 20
    meta_lr: float = 1e-2
    sampling: Literal["uniform", "board", "fixed"] = "uniform"
    probabilities: tuple[float, ...] = ()
    held_out: int = 256
    refresh: int = 100

    def __post_init__(self) -> None:
        for name in ("size", "references", "every", "held_out", "refresh"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, but got {getattr(self, name)}.")
        if not 0 <= self.begin < 1 or not 0 < self.meta_lr < math.inf:
            raise ValueError(
                "begin must be a share from 0 to below 1 and meta_lr a positive number, but got "
                f"{self.begin} and {self.meta_lr}."
            )
        if (self.sampling == "fixed") != bool(self.probabilities):
            raise ValueError('probabilities are of sampling = "fixed": set both, or neither.')
        if self.probabilities and (min(self.probabilities) < 0 or not math.isclose(sum(self.probabilities), 1)):
            raise ValueError(f"probabilities must not be negative and sum to 1, but got {self.probabilities}.")
