"""The loop of a search: ask a strategy for architectures, have them scored, write them down, begin again."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from vitesse.arch import Backbone, smallest
from vitesse.errors import VitesseError
from vitesse.search.candidate import Candidate, Proposals, Strategy
from vitesse.search.feasible import Costs, check_budget, within
from vitesse.search.study import Study

Score = Callable[[Sequence[Backbone]], Sequence[float]]
Progress = Callable[[int, int, str], None]


def search(
    space: Backbone,
    *,
    strategy: Strategy,
    score: Score,
    costs: Costs,
    limits: Mapping[str, float],
    storage: Path | str,
    seed: int,
    generations: int = 20,
    progress: Progress = lambda done, total, note: None,
) -> list[Candidate]:
    """Search `space` for `generations` rounds and return every candidate, in the order of proposal; resumes by itself.

    `score` is given a whole generation at once, so that its caller can share work among networks or spread it over
    devices; more is better. `costs` names each network's costs, `limits` the most that some of them may be.
    What comes out depends on the arguments alone: a search that was killed at any moment and started again ends as if
    it had not been. Several searches with different seeds may run on one study at a time.
    Ends early where the strategy finds nothing new. Raises UsageError where no network can meet the limits.
    """
    check_budget(space, costs, limits)
    study = Study(storage, space, costs=tuple(costs(smallest(space))))
    study.enter(seed, f"{strategy!r} within {sorted(limits.items())}")
    known: dict[Backbone, Mapping[str, float]] = {}

    def price(arch: Backbone) -> Mapping[str, float]:
        if arch not in known:
            known[arch] = costs(arch)
        return known[arch]

    history = study.candidates(seed)
    # Only the last generation can be incomplete, because the next one begins when all its scores are written.
    first = history[-1].generation if history else 0
    for generation in range(first, generations):
        earlier = [candidate for candidate in history if candidate.generation < generation]
        proposals = strategy.propose(
            space,
            earlier,
            generation=generation,
            rng=random.Random(f"{seed}/{generation}"),
            feasible=lambda arch: within(price(arch), limits),
        )
        if not proposals:
            break
        recorded = {candidate.arch for candidate in history if candidate.generation == generation}
        if not recorded.issuperset(arch for arch, _ in proposals):
            fresh = _score(proposals, score=score, price=price, generation=generation)
            study.add([candidate for candidate in fresh if candidate.arch not in recorded], seed=seed)
            history = earlier + fresh
        progress(generation + 1, generations, f"best score {max(c.score for c in history):.4g}")
    return history


def _score(proposals: Proposals, *, score: Score, price: Costs, generation: int) -> list[Candidate]:
    """The whole generation, scored at once.

    So it is even where a crash left half of it recorded: in a race the score of one depends on the others.
    """
    archs = [arch for arch, _ in proposals]
    scores = list(score(archs))
    if len(scores) != len(archs):
        raise VitesseError(
            f"score must give one number for each architecture, but gave {len(scores)} for {len(archs)}. Mend score."
        )
    return [
        Candidate(arch=arch, score=float(value), costs=price(arch), origin=origin, generation=generation)
        for (arch, origin), value in zip(proposals, scores, strict=True)
    ]
