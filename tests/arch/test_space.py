"""Spaces: every way to choose stays inside, decisions are found again, and counting agrees with counting one by one."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from vitesse.arch import (
    MLP,
    Attention,
    Backbone,
    Block,
    Choice,
    Head,
    Options,
    PatchEmbed,
    Stage,
    contains,
    cross,
    largest,
    mutate,
    picks,
    resolve,
    sample,
    size,
    smallest,
)


def everything(space: Backbone) -> Iterator[Backbone]:
    """Each network of the space: all ways through its decisions, by counting them up like the digits of a number."""
    digits: list[int] = []
    while True:
        seen: list[int] = []

        def pick(path: str, choice: Options, seen: list[int] = seen, digits: tuple[int, ...] = tuple(digits)) -> Any:
            place = digits[len(seen)] if len(seen) < len(digits) else 0
            seen.append(len(choice.options))
            return choice.options[place]

        yield resolve(space, pick)
        digits += [0] * (len(seen) - len(digits))
        while digits and digits[-1] == seen[len(digits) - 1] - 1:
            digits.pop()
        if not digits:
            return
        digits[-1] += 1


@pytest.fixture(params=["space", "nested"])
def any_space(request: pytest.FixtureRequest) -> Backbone:
    found: Backbone = request.getfixturevalue(request.param)
    return found


def test_size_is_the_number_of_networks(space: Backbone, nested: Backbone) -> None:
    assert size(space) == len(set(everything(space))) == 80
    assert size(nested) == len(set(everything(nested))) == 15 + 15**2
    assert size(largest(space)) == 1


def test_each_position_may_have_choices_of_its_own() -> None:
    blocks = (Block(MLP(ratio=Choice(1.0, 2.0))), Block(MLP(ratio=3.0)), Block(MLP(ratio=Choice(4.0, 5.0, 6.0))))
    stage = Stage(dim=8, depth=Choice(1, 3), block=blocks)
    whole = Backbone(stem=PatchEmbed(image=(8, 8), patch=(8, 8)), stages=(stage,), head=Head(classes=2))
    assert size(whole) == len(set(everything(whole))) == 2 + 2 * 3


def test_picks_is_the_inverse_of_resolve(any_space: Backbone) -> None:
    for arch in everything(any_space):
        known = picks(any_space, arch)
        asked: list[str] = []

        def pick(path: str, choice: Options, known: dict[str, Any] = known, asked: list[str] = asked) -> Any:
            asked.append(path)
            return known[path]

        assert resolve(any_space, pick) == arch
        assert asked == list(known)  # the active decisions, in the order in which they are asked


def test_paths_and_their_order(space: Backbone) -> None:
    asked: list[str] = []

    def pick(path: str, choice: Options) -> Any:
        asked.append(path)
        return choice.options[0]

    resolve(space, pick)
    first = ["stages.0.dim", "stages.0.depth", "stages.0.blocks.0.0.heads", "stages.0.blocks.0.1.ratio"]
    assert asked == [*first, "head.pool"]  # nothing of the block below the chosen depth


def test_contains_says_no_to_strangers(space: Backbone) -> None:
    inside = smallest(space)
    stage = inside.stages[0]
    strangers = [
        dataclasses.replace(inside, stages=(dataclasses.replace(stage, dim=20),)),
        dataclasses.replace(inside, stages=(dataclasses.replace(stage, depth=3),)),
        dataclasses.replace(inside, stages=(dataclasses.replace(stage, block=Block(Attention(heads=2), MLP())),)),
        dataclasses.replace(inside, stages=(dataclasses.replace(stage, block=Block(MLP(), MLP())),)),
        dataclasses.replace(inside, stages=(dataclasses.replace(stage, block=Block(*stage.blocks[0].branches[:1])),)),
        dataclasses.replace(inside, head=Head(classes=6)),
    ]
    assert contains(space, inside) and not any(contains(space, stranger) for stranger in strangers)
    with pytest.raises(ValueError, match=r"stages\.0\.dim must be one of \(24, 16\), but got 20"):
        picks(space, strangers[0])


def test_sample_reaches_all_and_nothing_else(any_space: Backbone) -> None:
    rng = random.Random(0)
    whole = set(everything(any_space))
    drawn = [sample(any_space, rng) for _ in range(len(whole) * 20)]
    assert set(drawn) <= whole
    assert len(set(drawn)) > 0.9 * len(whole)


def test_each_decision_is_uniform(space: Backbone) -> None:
    rng = random.Random(0)
    counts = Counter(sample(space, rng).stages[0].dim for _ in range(2000))
    assert abs(counts[16] - 1000) < 150  # more than six standard deviations


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_mutants_stay_in_the_space(any_space: Backbone, rate: float) -> None:
    """Also where a redrawn option has decisions of its own, in which the old decisions do not exist."""
    rng = random.Random(1)
    whole = set(everything(any_space))
    arch = sample(any_space, rng)
    seen = set()
    for _ in range(400):
        child = mutate(any_space, arch, rng, stage_rate=rate, block_rate=rate)
        assert child in whole
        assert rate > 0 or child == arch
        arch = child
        seen.add(arch)
    assert rate == 0 or len(seen) > 20


def test_rates_of_mutation(space: Backbone) -> None:
    rng = random.Random(0)
    start = smallest(space)
    outside = [mutate(space, start, rng, stage_rate=1.0, block_rate=0.0) for _ in range(200)]
    inside = [mutate(space, start, rng, stage_rate=0.0, block_rate=1.0) for _ in range(200)]
    assert {arch.stages[0].blocks[0] for arch in outside} == {start.stages[0].blocks[0]}
    assert {(arch.stages[0].dim, arch.stages[0].depth) for arch in outside} == {(16, 1), (16, 2), (24, 1), (24, 2)}
    assert {(arch.stages[0].dim, arch.stages[0].depth, arch.head) for arch in inside} == {(16, 1, start.head)}
    assert len(set(inside)) == 4


def test_children_take_each_decision_from_a_parent(any_space: Backbone) -> None:
    rng = random.Random(2)
    whole = set(everything(any_space))
    for _ in range(200):
        a, b = sample(any_space, rng), sample(any_space, rng)
        child = cross(any_space, a, b, rng)
        assert child in whole
        both = [picks(any_space, a), picks(any_space, b)]
        for path, option in picks(any_space, child).items():
            given = [parent[path] for parent in both if path in parent]
            assert option in given
        assert cross(any_space, a, a, rng) == a


def test_a_block_that_one_parent_lacks_comes_from_the_other(space: Backbone) -> None:
    big, small = largest(space), smallest(space)
    children = [cross(space, big, small, random.Random(seed)) for seed in range(50)]
    deep = [child for child in children if child.stages[0].depth == 2]
    assert deep and all(child.stages[0].blocks[1] == big.stages[0].blocks[1] for child in deep)


def test_largest_and_smallest(space: Backbone, nested: Backbone) -> None:
    big, small = largest(space), smallest(space)
    assert (big.stages[0].dim, big.stages[0].depth) == (24, 2)  # by size, whatever their order
    assert big.stages[0].block == Block(Attention(heads=2, head_dim=8), MLP(ratio=3.5))
    assert (small.stages[0].dim, small.stages[0].depth) == (16, 1)
    assert small.stages[0].block == Block(Attention(heads=1, head_dim=8), MLP(ratio=2.0))
    assert (big.head.pool, small.head.pool) == ("mean", "class")  # no numbers: by place
    assert contains(nested, largest(nested)) and contains(nested, smallest(nested))
    assert largest(big) is not None and largest(big) == big == smallest(big)


def test_options_are_values_with_decisions_inside(nested: Backbone) -> None:
    one = dataclasses.replace(
        smallest(nested),
        stages=(Stage(dim=16, depth=1, block=Block(MLP(ratio=1.0), Attention(heads=2, head_dim=8))),),
    )
    assert picks(nested, one)["stages.0.blocks.0.0"] == MLP(ratio=1.0)
    other = Block(Attention(heads=3, head_dim=4, qk_norm=True), Attention(heads=2, head_dim=8))
    two = dataclasses.replace(one, stages=(Stage(dim=16, depth=1, block=other),))
    known = picks(nested, two)
    assert known["stages.0.blocks.0.0.heads"] == 3 and isinstance(known["stages.0.blocks.0.0"], Attention)
