"""What every search strategy keeps. A new strategy joins by one line in STRATEGIES."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import optuna
import pytest

from vitesse.arch import MLP, Attention, Backbone, Block, Choice, Head, PatchEmbed, Stage, contains, cost, smallest
from vitesse.search import NSGA2, Candidate, Contraction, Evolution, RandomSearch, Strategy, read_candidates, search
from vitesse.search.likelihood import Likeliest, Likelihood

STRATEGIES: dict[str, Strategy] = {
    "random": RandomSearch(population=8),
    "evolution": Evolution(population=8, parents=4, mutants=3, crossovers=3),
    "nsga2": NSGA2(costs=("params", "macs"), population=8),
    "contraction": Contraction(population=8),
    "likeliest": Likeliest(
        population=8, likelihood=Likelihood(logits={f"stages.0.blocks.{b}.1.act": (0.1 * b, 0.4) for b in range(5)})
    ),
}
SPACE = Backbone(
    stem=PatchEmbed(image=(16, 16), patch=(8, 8)),
    stages=(
        Stage(
            dim=Choice(16, 24, 32),
            depth=Choice(3, 4, 5),
            block=Block(
                Attention(heads=Choice(1, 2, 4), head_dim=8),
                MLP(ratio=Choice(1.0, 2.0, 3.0), act=Choice("relu", "gelu")),
            ),
        ),
    ),
    head=Head(classes=10),
)
LIMITS = {"params": 20_000.0}
Feasible = Callable[[Backbone], bool]


def costs(arch: Backbone) -> Mapping[str, float]:
    return {"params": cost(arch).params, "macs": cost(arch).macs}


def score(archs: Sequence[Backbone]) -> list[float]:
    return [sum(block.branches[0].heads * 10 - block.branches[1].ratio for block in a.stages[0].blocks) for a in archs]


def feasible(arch: Backbone) -> bool:
    return costs(arch)["params"] <= LIMITS["params"]


def told(proposals: Sequence[tuple[Backbone, str]], generation: int) -> list[Candidate]:
    archs = [arch for arch, _ in proposals]
    return [
        Candidate(arch=arch, score=value, costs=costs(arch), origin=origin, generation=generation)
        for (arch, origin), value in zip(proposals, score(archs), strict=True)
    ]


def generations(strategy: Strategy, count: int, *, seed: int, able: Feasible = feasible) -> list[Candidate]:
    history: list[Candidate] = []
    for generation in range(count):
        rng = random.Random(f"{seed}/{generation}")
        history += told(strategy.propose(SPACE, history, generation=generation, rng=rng, feasible=able), generation)
    return history


def run(strategy: Strategy, place: Path) -> list[Candidate]:
    """Three generations of eight."""
    return search(
        SPACE, strategy=strategy, score=score, costs=costs, limits=LIMITS, storage=place, seed=0, generations=3
    )


@pytest.fixture(params=STRATEGIES)
def strategy(request: pytest.FixtureRequest) -> Strategy:
    return STRATEGIES[request.param]


def test_proposes_distinct_feasible_members_of_the_space(strategy: Strategy) -> None:
    found = generations(strategy, 4, seed=0)
    assert len(found) == 4 * 8
    assert len({candidate.arch for candidate in found}) == 4 * 8
    for candidate in found:
        assert feasible(candidate.arch)
        assert contains(SPACE, candidate.arch)
        assert candidate.origin


def test_the_generator_decides_and_nothing_else(strategy: Strategy) -> None:
    random.seed(1)
    first = generations(strategy, 3, seed=0)
    random.seed(2)
    state = random.getstate()
    assert generations(strategy, 3, seed=0) == first
    assert random.getstate() == state
    assert generations(strategy, 3, seed=1) != first


def test_finds_networks_where_draws_hardly_ever_hit_the_budget(strategy: Strategy) -> None:
    least = cost(smallest(SPACE)).params

    def tight(arch: Backbone) -> bool:
        return cost(arch).params <= 1.25 * least

    found = generations(strategy, 2, seed=0, able=tight)
    assert len({candidate.arch for candidate in found}) == 2 * 8
    assert all(tight(candidate.arch) for candidate in found)


def test_ends_where_nothing_new_is_left(strategy: Strategy) -> None:
    only = smallest(SPACE)
    found = generations(strategy, 2, seed=0, able=lambda arch: arch == only)
    assert [candidate.arch for candidate in found] == [only]


def test_goes_on_exactly_after_a_kill(strategy: Strategy, tmp_path: Path) -> None:
    """The kill is simulated: all but the first results go, and the rest of the generation under way is left running."""
    place = tmp_path / "study.db"
    whole = run(strategy, place)
    assert len(whole) == 3 * 8
    for left in (16, 3):
        _truncate(place, left)
        assert len(read_candidates(place)) == left
        assert run(strategy, place) == whole


def _truncate(place: Path, left: int) -> None:
    """Make the study what it was after `left` results."""
    name, url = "search", f"sqlite:///{place}"
    # The sampler is not asked; it is named because a study needs one.
    old = optuna.load_study(study_name=name, storage=url, sampler=optuna.samplers.RandomSampler(seed=0))
    attrs, directions = old.user_attrs, old.directions
    trials = old.trials
    optuna.delete_study(study_name=name, storage=url)
    new = optuna.create_study(
        study_name=name, storage=url, directions=directions, sampler=optuna.samplers.RandomSampler(seed=0)
    )
    for key, value in attrs.items():
        new.set_user_attr(key, value)
    for trial in trials[:left]:
        new.add_trial(
            optuna.trial.create_trial(
                values=trial.values,
                params=trial.params,
                distributions=trial.distributions,
                user_attrs=trial.user_attrs,
            )
        )
