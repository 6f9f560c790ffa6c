from __future__ import annotations

import itertools
import math
import random

import pytest

from vitesse.arch import MLP, Attention, Backbone, Block, Choice, Head, PatchEmbed, Skip, Stage, cost, size
from vitesse.search.likelihood import Likeliest, Likelihood, candidates, has_sizes
from vitesse.zoo.nb201 import SMALL_KINDS, nb201_cell_space, the_cell

CELL = nb201_cell_space(SMALL_KINDS, width=4, image=8)
EDGES = [f"stages.0.blocks.0.0.edges.{e}" for e in range(6)]
CELLS = Likelihood(logits={path: (0.1 * e, 0.7 - 0.2 * e, 0.3 * e - 0.5) for e, path in enumerate(EDGES)})
# Three blocks, each an MLP or nothing, with sizes that are open, too.
SIZED = Backbone(
    stem=PatchEmbed(image=(8, 8), patch=(4, 4), tokens=()),
    stages=(
        Stage(
            dim=Choice(8, 16),
            depth=3,
            block=Block(Choice(Skip(), MLP(ratio=Choice(1.0, 2.0)), MLP(ratio=Choice(2.0, 1.0), act="relu"))),  # type: ignore[arg-type]
        ),
    ),
    head=Head(classes=3, pool="mean"),
)
BLOCKS = Likelihood(logits={f"stages.0.blocks.{b}.0": (-1.0, 2.0, 0.5) for b in range(3)})


def anything(arch: Backbone) -> bool:
    return True


def test_all_networks_of_a_space_come_from_the_likeliest_to_the_least_likely() -> None:
    found = list(CELLS.likeliest(CELL, feasible=anything))
    values = [CELLS.of(CELL, arch) for arch in found]
    assert len(set(found)) == size(CELL) == len(found)
    assert all(a >= b - 1e-9 for a, b in itertools.pairwise(values))
    assert sum(map(math.exp, values)) == pytest.approx(1)


def test_the_likeliest_has_the_greatest_logit_of_each_choice() -> None:
    first = next(CELLS.likeliest(CELL, feasible=anything))
    best = [max(range(3), key=CELLS.logits[path].__getitem__) for path in EDGES]
    assert the_cell(first).edges == tuple(SMALL_KINDS[place] for place in best)


def test_blocks_that_repeat_have_one_decision() -> None:
    repeated = Likelihood(logits={f"0.edges.{e}": CELLS.logits[path] for e, path in enumerate(EDGES)}, repeat=True)
    for arch in itertools.islice(CELLS.likeliest(CELL, feasible=anything), 20):
        assert repeated.of(CELL, arch) == pytest.approx(CELLS.of(CELL, arch))
    twice = Likelihood(logits={"0": (-1.0, 2.0, 0.5)}, repeat=True)
    kinds = {
        tuple(type(block.branches[0]).__name__ for block in twice.sample(SIZED, random.Random(seed)).stages[0].blocks)
        for seed in range(30)
    }
    assert kinds == {("MLP",) * 3, ("Skip",) * 3}
    assert twice.of(SIZED, twice.sample(SIZED, random.Random(1))) > math.log(0.05)  # once, not three times


def test_infeasible_networks_are_passed_over() -> None:
    def small(arch: Backbone) -> bool:
        return the_cell(arch).edges.count("nor_conv_3x3") <= 1

    found = list(CELLS.likeliest(CELL, feasible=small))
    assert len(found) == 2**6 + 6 * 2**5
    assert next(CELLS.likeliest(CELL, feasible=lambda arch: False), None) is None


def test_draws_follow_the_likelihood() -> None:
    rng, count = random.Random(0), 2000
    drawn = [CELLS.sample(CELL, rng) for _ in range(count)]
    shares = [math.exp(one) for one in CELLS.logits[EDGES[2]]]
    for kind, share in zip(SMALL_KINDS, shares, strict=True):
        seen = sum(the_cell(arch).edges[2] == kind for arch in drawn) / count
        assert seen == pytest.approx(share / sum(shares), abs=0.05)


def test_sizes_are_drawn_and_operations_chosen() -> None:
    assert has_sizes(SIZED, BLOCKS) and not has_sizes(CELL, CELLS)
    strategy = Likeliest(likelihood=BLOCKS, population=8)

    def small(arch: Backbone) -> bool:
        return cost(arch).params <= 1200

    found = [arch for arch, _ in strategy.propose(SIZED, (), generation=0, rng=random.Random(0), feasible=small)]
    assert len(set(found)) == 8 and all(map(small, found))
    values = [BLOCKS.of(SIZED, arch) for arch in found]
    assert values == sorted(values, reverse=True)
    assert {arch.stages[0].dim for arch in found} == {8, 16}
    table = candidates(SIZED, BLOCKS)
    assert list(table) == list(BLOCKS.logits)
    assert [text.partition("(")[0] for text in table["stages.0.blocks.1.0"]] == ["Skip", "MLP", "MLP"]


def test_options_that_differ_in_sizes_alone_are_one_candidate() -> None:
    same = Choice(MLP(ratio=Choice(1.0, 2.0)), MLP(ratio=Choice(2.0, 1.0)), Attention(heads=1, head_dim=8))
    space = Backbone(stem=SIZED.stem, stages=(Stage(dim=8, depth=1, block=Block(same)),), head=SIZED.head)
    likelihood = Likelihood(logits={"stages.0.blocks.0.0": (0.0, 1.0)})
    values = {
        type(arch.stages[0].blocks[0].branches[0]): likelihood.of(space, arch)
        for arch in (likelihood.sample(space, random.Random(seed)) for seed in range(30))
    }
    assert values[Attention] - values[MLP] == pytest.approx(1)
