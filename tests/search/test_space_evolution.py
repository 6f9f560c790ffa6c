"""A space that evolves on a score with a planted answer; no networks are built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vitesse.arch import MLP, Attention, Backbone, Block, Choice, Head, PatchEmbed, Stage, cost, from_json, smallest
from vitesse.arch.dimensions import dimensions
from vitesse.errors import UsageError
from vitesse.search.evolving import EvolveSettings
from vitesse.search.space_evolution import Measured, _changes, measure
from vitesse.search.study import read_candidates

BEST_WIDTH = 48
SETTINGS = EvolveSettings(samples=64, most_samples=128, most_steps=2)


def space(ratios: tuple[float, ...] = (3.0, 4.0, 5.0)) -> Backbone:
    """Planted: too narrow (48 would be best), and with MLPs that are wider than is good."""
    block = Block(Attention(heads=Choice(1, 2, 3), head_dim=8), MLP(ratio=Choice(*ratios)))
    return Backbone(
        stem=PatchEmbed(image=(8, 8), patch=(2, 2)),
        stages=(Stage(dim=Choice(16, 20, 24), depth=Choice(1, 2, 3), block=block),),
        head=Head(classes=10),
    )


def score(archs: Sequence[Backbone]) -> list[float]:
    """Width matters most, MLPs harm a little, heads and depth do nothing."""
    return [0.9 - 0.002 * abs(BEST_WIDTH - arch.stages[0].dim) - 0.004 * ratio(arch) for arch in archs]


def ratio(arch: Backbone) -> float:
    """The mean of the blocks."""
    ratios = [branch.ratio for block in arch.stages[0].blocks for branch in block.branches if isinstance(branch, MLP)]
    return sum(ratios) / len(ratios)


def costs(arch: Backbone) -> Mapping[str, float]:
    return {"params": cost(arch).params, "macs": cost(arch).macs}


def measured(start: Backbone, folder: Path, **changes: Any) -> Measured:
    given: dict[str, Any] = {
        "score": score,
        "costs": costs,
        "limits": {"params": 25_000},
        "settings": SETTINGS,
        "seed": 0,
    }
    return measure(start, storage=folder / "study.db", **(given | changes))


def options(found: Measured) -> dict[str, tuple[float, ...]]:
    return {one.name.rpartition(".")[2]: one.options for one in dimensions(found.following)}


def test_each_dimension_moves_the_right_way_and_errors_fall(tmp_path: Path) -> None:
    first = measured(space(), tmp_path / "0")
    assert options(first)["dim"] == (24, 28, 32)
    assert options(first)["ratio"][0] < 3.0
    second = measured(first.following, tmp_path / "1")
    assert second.error.both < first.error.both - 3 * first.error.both_error
    assert options(second)["dim"][-1] > 32
    assert first.importance["stages.0.dim"].value > 0.5 > first.importance["stages.0.blocks.0.heads"].high
    told = second.to_dict()
    scored = read_candidates(tmp_path / "0" / "study.db")
    assert len(scored) == first.error.networks
    assert all(12_500 <= one.costs["params"] <= 25_000 for one in scored)
    assert from_json(told["space"]) == first.following and from_json(told["following"]) == second.following


def test_the_sample_grows_only_while_a_move_is_in_doubt(tmp_path: Path) -> None:
    flat = measured(space(), tmp_path / "flat", score=lambda archs: [0.7] * len(archs))
    assert flat.error.networks == 64 and flat.following == space()
    assert all(trend.decided for trend in flat.trends)
    noisy = measured(
        space(), tmp_path / "noisy", score=lambda archs: [0.5 + cost(arch).params % 97 / 300 for arch in archs]
    )
    assert noisy.error.networks == SETTINGS.most_samples


def test_killed_while_it_scores_it_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    calls = 0

    def dying(archs: Sequence[Backbone]) -> list[float]:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return score(archs)

    settings = EvolveSettings(samples=100, most_samples=100)
    whole = measured(space(), tmp_path / "whole", settings=settings)
    with pytest.raises(KeyboardInterrupt):
        measured(space(), tmp_path / "killed", settings=settings, score=dying)
    scored: list[int] = []
    again = measured(
        space(), tmp_path / "killed", settings=settings, score=lambda archs: scored.append(len(archs)) or score(archs)
    )  # fmt: skip
    assert again == whole
    assert sum(scored) == whole.error.networks - 64


def test_a_move_is_shorter_where_the_values_forbid_it(tmp_path: Path) -> None:
    low = measured(space((0.02, 0.03)), tmp_path, score=lambda archs: [0.9 - ratio(arch) for arch in archs])
    assert options(low)["ratio"] == (0.01, 0.02)  # two steps down would leave one option
    assert "stages.0.blocks.1.ratio" not in low.held


def test_a_move_beyond_the_budget_is_held(tmp_path: Path) -> None:
    found = measured(space(), tmp_path, settings=EvolveSettings(samples=16, most_samples=16))
    forced = [replace(trend, lower=2, upper=2) for trend in found.trends]
    tight = {"params": cost(smallest(space())).params}
    changes, held = _changes(space(), forced, costs=costs, limits=tight)
    assert not changes
    assert held["stages.0.dim"] == "Hardly a network within the budget would be left."


def test_what_cannot_evolve_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="evolves within a budget"):
        measured(space(), tmp_path, limits={})
    stage = Stage(dim=16, depth=Choice(1), block=Block(MLP()))
    with pytest.raises(UsageError, match="two numbers or more"):
        measured(replace(space(), stages=(stage,)), tmp_path)
    tight = {"params": cost(smallest(space())).params}
    with pytest.raises(UsageError, match="16 networks or more near the budget, but it has 1"):
        measured(space(), tmp_path, limits=tight, settings=EvolveSettings(samples=16, most_samples=16))
