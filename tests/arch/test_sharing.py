"""Blocks that share weights: which groups are allowed, and that spaces of them stay consistent."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from vitesse.arch import (
    MLP,
    Attention,
    Backbone,
    Block,
    Choice,
    Head,
    HeadMix,
    LayerNorm,
    LocalMix,
    Options,
    PatchEmbed,
    RelativePosition,
    Stage,
    contains,
    cost,
    cross,
    from_json,
    largest,
    mutate,
    parameters,
    picks,
    resolve,
    sample,
    size,
    smallest,
    to_json,
)
from vitesse.arch.axes import count
from vitesse.search.genome import decode, encode, genes

BLOCK = Block(Attention(heads=2, head_dim=8, mix=HeadMix(), position=RelativePosition(reach=2)), MLP(ratio=2.0))


def network(**stage: Any) -> Backbone:
    return Backbone(
        stem=PatchEmbed(image=(16, 16), patch=(8, 8)),
        stages=(Stage(**({"dim": 16, "depth": 4, "block": BLOCK} | stage)),),
        head=Head(classes=5),
    )


@pytest.fixture(scope="module")
def space() -> Backbone:
    """Depths that allow different groups, and groups whose first blocks differ."""
    block = Block(Attention(heads=Choice(1, 2), head_dim=8, mix=Choice(None, HeadMix())), MLP(ratio=Choice(1.0, 2.0)))
    return network(depth=Choice(3, 4, 6), share=Choice(2, 3, "all"), block=block)


def test_a_shared_tensor_is_named_once() -> None:
    names = parameters(network(share=2))
    assert "stages.0.blocks.2.0.op.qkv.weight" in names and "stages.0.blocks.2.1.op.fc2.bias" in names
    followers = {name.split(".", 5)[-1] for name in names if name.startswith("stages.0.blocks.3.0.")}
    tables = {f"op.position.{side}_{table}" for side in ("key", "value") for table in ("rows", "columns", "extra")}
    assert followers == {"norm.weight", "norm.bias", "op.mix.before.weight", "op.mix.after.weight"} | tables


def test_own_says_what_is_not_shared() -> None:
    mixing = {"op.mix.before.weight", "op.mix.after.weight"}
    for own, expected in (((), mixing), (("norm",), mixing | {"norm.weight", "norm.bias"})):
        names = parameters(network(share=4, own=own))
        found = {name.split(".", 5)[-1] for name in names if name.startswith("stages.0.blocks.1.0.")}
        assert found == expected


def test_a_followers_axes_are_its_leaders() -> None:
    mix = parameters(network(share=2))["stages.0.blocks.3.0.op.mix.after.weight"]
    assert [axis.name for (axis,) in mix] == ["stages.0.blocks.2.0.heads"] * 2


def test_parameters_are_counted_once_and_products_for_each_block() -> None:
    plain, shared = cost(network()), cost(network(share=2))
    block = cost(network(depth=2)).params - cost(network(depth=1)).params
    own = [shape for name, shape in parameters(network(share=2)).items() if name.startswith("stages.0.blocks.1.")]
    assert shared.params == plain.params - 2 * (block - count(dict(enumerate(own))))
    assert shared.params == count(parameters(network(share=2)))
    assert plain.macs == shared.macs


def test_mixing_costs_products() -> None:
    block = Block(Attention(heads=2, head_dim=8), MLP(ratio=2.0))
    mixed = Block(Attention(heads=2, head_dim=8, mix=HeadMix(after=False)), LocalMix(kernel=3), MLP(ratio=2.0))
    tokens, patches = 5, 4
    more = cost(network(block=mixed)).macs - cost(network(block=block)).macs
    assert more == 4 * (tokens**2 * 2**2 + patches * 16 * 9)


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({"share": 3}, "must divide the depth, but got share=3 and depth=4. Take 1, 2, 4"),
        ({"share": Choice(2, 3), "depth": Choice(4, 5)}, r"but got share=Choice\(2, 3\) and depth=5"),
        ({"share": 0}, "at least 1"),
        ({"share": True}, "at least 1"),
        ({"share": "some"}, 'or "all"'),
        ({"own": ("weight",)}, "Stage.own must be"),
        ({"share": 2, "block": (BLOCK, BLOCK, BLOCK, Block(MLP()))}, "share=2 blocks 2 and 3 are one group and differ"),
        ({"share": Choice(1, "all"), "block": (*(BLOCK,) * 3, Block(MLP()))}, "share=4 blocks 0 and 3"),
    ],
    ids=str,
)
def test_impossible_groups_are_refused(stage: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        network(**stage)
    assert "\n" not in str(error.value)


def test_a_mix_of_nothing_is_refused() -> None:
    for nothing in ({"before": False}, {"before": Choice(True, False)}):
        with pytest.raises(ValueError, match="mix=None"):
            HeadMix(after=False, **nothing)


@pytest.mark.parametrize("kernel", [2, 0, Choice(3, 4)])
def test_a_local_mix_has_a_centre(kernel: int) -> None:
    with pytest.raises(ValueError, match="odd"):
        LocalMix(kernel=kernel)


def test_one_form_for_one_network() -> None:
    assert network(share="all") == network(share=4)
    assert network(share=1, own=()) == network()
    assert network(share=2, own=["position", "norm"]) == network(share=2)
    assert network(share=2, own=()) != network(share=2)


def test_it_is_json(space: Backbone) -> None:
    local = Block(*BLOCK.branches, LocalMix(norm=LayerNorm(eps=1e-5)))
    for value in (network(share=2, own=("norm",), block=local), space, sample(space, random.Random(0))):
        assert from_json(to_json(value)) == value


def test_the_ends_by_weights(space: Backbone) -> None:
    """The fewer blocks share, the more weights there are; only what divides the depth is open."""
    assert (largest(space).stages[0].depth, largest(space).stages[0].share) == (6, 2)
    assert (smallest(space).stages[0].depth, smallest(space).stages[0].share) == (3, 3)
    rng = random.Random(0)
    most, least = cost(largest(space)).params, cost(smallest(space)).params
    assert all(least <= cost(sample(space, rng)).params <= most for _ in range(100))


def test_options_are_ordered_by_size() -> None:
    assert Options((3, 1, 2)).ordered == (1, 2, 3)
    assert Options((3, 1, 2), shrinks=True).ordered == (3, 2, 1)
    assert Options(("relu", "gelu")).ordered == ("relu", "gelu")


def test_groups_decide_together(space: Backbone) -> None:
    asked: list[str] = []

    def pick(path: str, choice: Options) -> Any:
        asked.append(path)
        return choice.ordered[-1]

    stage = resolve(space, pick).stages[0]
    assert stage.share == 2
    assert [path for path in asked if path.endswith(".heads")] == [f"stages.0.blocks.{b}.0.heads" for b in (0, 2, 4)]
    assert len(set(stage.blocks[:2])) == 1


def test_size_counts_each_network_once(space: Backbone) -> None:
    one = 2 * 2 * 2
    # Depth 3: all. Depth 4: two, or all. Depth 6: two, three, or all.
    assert size(space) == one + (one**2 + one) + (one**3 + one**2 + one)
    rng = random.Random(0)
    few = replace(space, stages=(replace(space.stages[0], depth=Choice(3, 4)),))
    assert len({sample(few, rng) for _ in range(3000)}) == size(few)


def test_every_way_to_choose_stays_inside(space: Backbone) -> None:
    rng, table = random.Random(1), genes(space)
    assert set(table["stages.0.share"]) == {2, 3, 4, 6}
    assert {path for path in table if path.endswith(".heads")} == {f"stages.0.blocks.{b}.0.heads" for b in (0, 2, 3, 4)}
    for _ in range(200):
        a, b = sample(space, rng), sample(space, rng)
        known = picks(space, a)
        assert resolve(space, lambda path, choice, known=known: known[path]) == a
        assert decode(space, encode(space, a, table), table) == a
        for child in (mutate(space, a, rng, stage_rate=0.5, block_rate=0.2), cross(space, a, b, rng)):
            assert contains(space, child)
        assert contains(space, decode(space, {path: rng.randrange(len(o)) for path, o in table.items()}, table))


def test_another_way_to_share_is_outside(space: Backbone) -> None:
    stage = largest(space).stages[0]
    assert not contains(space, replace(space, stages=(replace(stage, share=1),)))
    assert not contains(space, replace(space, stages=(replace(stage, own=("norm",)),)))
