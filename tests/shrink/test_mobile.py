"""The space `mobile`: it fits images and budgets, and a whole run finds and finishes a network of it."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from tests.shrink.conftest import Killed, Listener, brief, opened

from vitesse.arch import Backbone, Budget, Options, Skip, contains, cost, ends, from_json, largest, sample, smallest
from vitesse.data.preprocess import Preprocess
from vitesse.shrink.mobile import LEAST_SIDE, mobile_space, strides
from vitesse.shrink.run import shrink
from vitesse.shrink.supernet import trained_space


def space(side: int, channels: int = 1, **limits: float) -> Backbone:
    grey: tuple[float, ...] = (0.5,) * channels
    preprocess = Preprocess(size=(side, side), channels=channels, mean=grey, std=grey)
    return mobile_space(preprocess, classes=10, budget=Budget(**limits))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("side", "found"),
    [
        (4, [1, 1, 1, 1, 1]), (8, [1, 1, 1, 1, 1]), (16, [1, 1, 1, 1, 2]), (32, [1, 1, 2, 1, 2]),
        (64, [1, 2, 2, 1, 2]), (224, [2, 2, 2, 1, 2]), (512, [2, 2, 2, 1, 2]),
    ],
)  # fmt: skip
def test_small_images_take_fewer_strides(side: int, found: list[int]) -> None:
    assert strides(side) == found
    grid = largest(space(side)).grids[-1]
    assert grid.rows >= min(LEAST_SIDE, -(-side // 2))


@pytest.mark.parametrize(
    ("side", "limits"),
    [
        (8, {"max_params": 60_000}), (32, {"max_macs": 3e6}), (224, {"max_macs": 3e8}), (224, {"max_params": 3e6}),
        (64, {"max_params": 2e5, "max_macs": 1e7}), (64, {"max_memory_bytes": 2e6}),
    ],
)  # fmt: skip
def test_the_budget_lies_within(side: int, limits: dict[str, float]) -> None:
    found = space(side, **limits)
    low, high = (cost(end(found)).to_dict() for end in (smallest, largest))
    assert all(low[name.removeprefix("max_")] < limit for name, limit in limits.items())
    assert any(high[name.removeprefix("max_")] > limit for name, limit in limits.items())


def test_what_is_open() -> None:
    """Kernels are operations with weights of their own, a layer may be left out, all else is a size."""
    found = space(64, 3)
    slot = found.stages[1].blocks[0].branches[0]
    assert isinstance(slot, Options) and slot.options[0] == Skip()
    assert [one.kernel for one in slot.options[1:]] == [3, 5, 7]
    assert isinstance(found.stages[-2].down, Options) and [one.kernel for one in found.stages[-2].down.options] == [
        3,
        5,
    ]
    archs = [sample(found, random.Random(seed)) for seed in range(5)]
    assert len(set(archs)) == 5 and all(contains(found, arch) for arch in archs)


def test_the_ends_draw_operations_alike() -> None:
    found = space(64, 3)
    rng = random.Random(0)
    seen = {pair[0].stages[1].blocks[0].branches[0].kernel for pair in (ends(found, rng) for _ in range(40))
            if pair[0].stages[1].blocks[0].branches[0] != Skip()}  # fmt: skip
    assert seen == {3, 5, 7}
    big, small = ends(found, rng)
    assert [stage.depth for stage in big.stages[1:-1]] == [3] * 5
    assert [stage.depth for stage in small.stages[1:-1]] == [0] * 5
    assert [stage.dim for stage in big.stages] == [stage.dim for stage in largest(found).stages]


def test_a_whole_search_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitesse.shrink.supernet.POOL", 16)  # drawing subnets takes longest
    settings = brief(seed=1)
    supernet = replace(settings.supernet, space="mobile", rule="single")
    settings = replace(settings, supernet=supernet, search=replace(settings.search, generations=1))
    with opened(tmp_path / "run", settings) as folder, pytest.raises(Killed):
        shrink(settings, folder, voice=Listener(die=("finish", 0)).voice)
    winner = from_json((tmp_path / "run" / "arch.json").read_text())
    assert contains(trained_space(tmp_path / "run"), winner) and cost(winner).params <= 60_000
    assert not folder.outputs("supernet")["elastic"]
