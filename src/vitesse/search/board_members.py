"""The board as a search: the paths that a training by prioritized paths left are the candidates, and nothing else is."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from vitesse.arch import Backbone, contains
from vitesse.errors import VitesseError
from vitesse.search.candidate import Candidate, Feasible, Proposals


@dataclass(frozen=True, kw_only=True, slots=True)
class BoardMembers:
    """One generation: the members of the board that are feasible. As the paper has it, no search follows the training."""

    members: tuple[Backbone, ...]

    def propose(
        self,
        space: Backbone,
        history: Sequence[Candidate],
        *,
        generation: int,
        rng: random.Random,
        feasible: Feasible,
    ) -> Proposals:
        """The feasible members at first, then nothing; VitesseError where none of them is feasible."""
        if generation:
            return []
        able = [arch for arch in dict.fromkeys(self.members) if contains(space, arch) and feasible(arch)]
        if not able:
            raise VitesseError(
                f"A winner must be on the board and within the limits, but none of its {len(self.members)} paths is: it was "
                "filled within other limits. Train the supernet with these, or search by another strategy."
            )
        return [(arch, "board") for arch in able]
