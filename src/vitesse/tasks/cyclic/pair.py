"""The two networks of a cyclic search: one runs all candidates mixed, the other the architecture that is believed in."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Generic, TypeVar

from torch import Tensor, nn

from vitesse.arch import Arch
from vitesse.nets.tapped import Tapped
from vitesse.ops.interactor import Interactor
from vitesse.tasks.cyclic.settings import CyclicSettings

BEGIN = 1e-3  # the deviation of the architecture parameters at first
A = TypeVar("A", bound=Arch)


class Pair(nn.Module, ABC, Generic[A]):
    """Search network, evaluation network, architecture parameters (`alpha`), and what the two say to each other.

    What a loop needs of them, whatever is searched for: choices of a space of blocks (`PairOfBlocks`) or cells
    (`PairOfCells`). Both networks have weights for each candidate of each choice; the first mixes them by softmax(alpha), the
    second runs one network at a time, so that its weights outlast a change of architecture.
    """

    search: nn.Module
    evaluation: nn.Module
    alpha: nn.Module
    interactor: Interactor

    def __init__(self, settings: CyclicSettings) -> None:
        super().__init__()
        self.settings = settings

    @abstractmethod
    def searching(self, images: Tensor) -> Tapped:
        """Maps and logits of the mixture of all candidates."""

    @abstractmethod
    def evaluating(self, images: Tensor, arch: A) -> Tapped:
        """Maps and logits of one network."""

    @abstractmethod
    def penalized(self) -> Tensor:
        """The sum of the sizes of the architecture parameters of operations without weights (the L1 term)."""

    @abstractmethod
    def logits(self) -> dict[str, tuple[float, ...]]:
        """What is believed of each choice, by its name: the logit of each candidate."""

    @abstractmethod
    def candidates(self) -> Mapping[str, tuple[str, ...]]:
        """What each choice leaves open, in words, by the same names."""

    @abstractmethod
    def likeliest(self, rng: random.Random) -> list[A]:
        """The networks that are believed in most, the first one above all."""

    @abstractmethod
    def drawn(self, rng: random.Random) -> A | None:
        """A network drawn from what is believed; None where none was found that may come out."""

    def answers(self, seen: Tapped) -> Tensor:
        """What a network says, for the interaction."""
        said: Tensor = self.interactor(seen.maps[: len(self.interactor.heads)], seen.logits)
        return said
