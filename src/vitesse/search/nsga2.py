"""NSGA-II: score against any costs at once (Deb et al. 2002), through Optuna's sampler."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution

from vitesse.arch import Backbone
from vitesse.errors import UsageError
from vitesse.search.candidate import Candidate, Feasible, Proposals
from vitesse.search.draw import draw, repair
from vitesse.search.genome import Genes, decode, encode, genes
from vitesse.search.study import directions, quiet

DRAWS = 10  # children drawn at most, for each that is asked for


@dataclass(frozen=True, kw_only=True, slots=True)
class NSGA2:
    """Evolves a front: the score is maximised, each cost in `costs` minimised.

    Optuna's sampler works on genomes of fixed length, in a study in memory that is told the whole history anew each
    time: its state then follows from the history and the seed alone. Children beyond the budget are repaired; past
    candidates beyond it (after the budget has changed) count as constraint violations.
    """

    costs: tuple[str, ...] = ("macs",)
    population: int = 50

    def __post_init__(self) -> None:
        if self.population < 2:
            raise ValueError(f"NSGA2.population must be at least 2, but got {self.population}.")

    def propose(
        self,
        space: Backbone,
        history: Sequence[Candidate],
        *,
        generation: int,
        rng: random.Random,
        feasible: Feasible,
    ) -> Proposals:
        """Random networks first, then children of the front; random networks fill what is missing."""
        seen = {candidate.arch for candidate in history}
        if not history:
            return [(arch, "random") for arch in draw(space, self.population, rng=rng, feasible=feasible)]
        unknown = set(self.costs) - set(history[0].costs)
        if unknown:
            raise UsageError(f"NSGA2.costs must be among {sorted(history[0].costs)}, but got {sorted(unknown)}.")
        table = genes(space)
        distributions: dict[str, BaseDistribution] = {
            path: CategoricalDistribution(range(len(options))) for path, options in table.items()
        }
        proposals: Proposals = []
        with quiet():
            study = self._replay(space, history, table=table, distributions=distributions, rng=rng, feasible=feasible)
            for _ in range(DRAWS * self.population):
                if len(proposals) == self.population:
                    break
                trial = study.ask(distributions)
                study.tell(trial, state=optuna.trial.TrialState.FAIL)  # its score is not known yet
                drawn = decode(space, trial.params, table)
                arch = repair(space, drawn, rng=rng, feasible=feasible)
                if arch is not None and arch not in seen:
                    seen.add(arch)
                    proposals.append((arch, "nsga2"))
        missing = self.population - len(proposals)
        return proposals + [(arch, "random") for arch in draw(space, missing, rng=rng, feasible=feasible, seen=seen)]

    def _replay(
        self,
        space: Backbone,
        history: Sequence[Candidate],
        *,
        table: Genes,
        distributions: dict[str, BaseDistribution],
        rng: random.Random,
        feasible: Feasible,
    ) -> optuna.Study:
        """A study in memory whose sampler has seen the history, in order."""
        sampler = optuna.samplers.NSGAIISampler(population_size=self.population, seed=rng.getrandbits(32))
        study = optuna.create_study(directions=directions(len(self.costs)), sampler=sampler)
        for candidate in history:
            study.enqueue_trial(encode(space, candidate.arch, table))
            trial = study.ask(distributions)
            # The sampler counts a trial into a generation when asked for genes, which it never is where all are given.
            sampler.get_trial_generation(study, study.get_trials(deepcopy=False)[trial.number])
            trial.set_constraint("budget", 0.0 if feasible(candidate.arch) else 1.0)
            study.tell(trial, [candidate.score, *(candidate.costs[name] for name in self.costs)])
        return study
