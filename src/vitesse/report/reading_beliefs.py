"""What a cyclic search left of what it believed, read as shares."""

from __future__ import annotations

import math

from vitesse.report.fields import Fields
from vitesse.report.summary import Belief


def read_beliefs(part: Fields) -> tuple[Belief, ...]:
    """What a cyclic search believed of each choice, as shares."""
    cycles, words = list(part.parts("beliefs")), part.part("candidates")
    steps = tuple(int(cycle.need("step")) for cycle in cycles)
    return tuple(
        Belief(
            choice=choice,
            candidates=words.texts(choice),
            steps=steps,
            shares=tuple(_shares(cycle.part("logits"), choice, len(words.texts(choice))) for cycle in cycles),
        )
        for choice in words.values
        if cycles
    )


def _shares(logits: Fields, choice: str, count: int) -> tuple[float, ...]:
    values = logits.get(choice, list) or []
    if len(values) != count or not all(isinstance(one, (int, float)) for one in values):
        raise logits.wrong(choice, f"list of {count} numbers")
    grown = [math.exp(one - max(values)) for one in values]
    return tuple(one / sum(grown) for one in grown)
