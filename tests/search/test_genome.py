from __future__ import annotations

import random

from vitesse.arch import (
    MLP,
    Attention,
    Backbone,
    Block,
    Choice,
    Head,
    PatchEmbed,
    RelativePosition,
    Stage,
    contains,
    sample,
    smallest,
)
from vitesse.search.genome import decode, encode, genes


def nested() -> Backbone:
    """A choice between operations that have choices of their own, under one path."""
    branch = Choice(Attention(heads=Choice(1, 2), head_dim=8), Attention(heads=Choice(4, 3), head_dim=4), MLP())
    position = Choice(None, RelativePosition(reach=2))
    return Backbone(
        stem=PatchEmbed(image=(16, 16), patch=(8, 8)),
        stages=(Stage(dim=16, depth=Choice(3, 1), block=Block(branch, Attention(heads=2, position=position))),),
        head=Head(classes=10),
    )


def test_genes_are_the_decisions_of_all_networks(toy) -> None:
    table = genes(toy.space)
    assert len(table) == 2 + 2 * 6
    assert table["stages.0.blocks.5.1.ratio"] == (1.0, 2.0, 3.0)
    assert table["stages.0.depth"] == (4, 5, 6)


def test_genes_hidden_behind_options_are_found() -> None:
    table = genes(nested())
    assert table["stages.0.depth"] == (1, 3)
    assert sorted(table["stages.0.blocks.2.0.heads"]) == [1, 2, 3, 4]
    assert len(table["stages.0.blocks.0.1.position"]) == 2


def test_decode_inverts_encode(toy) -> None:
    rng = random.Random(0)
    for space in (toy.space, nested()):
        table = genes(space)
        for _ in range(50):
            arch = sample(space, rng)
            genome = encode(space, arch, table)
            assert list(genome) == list(table)
            assert decode(space, genome, table) == arch


def test_any_genome_is_a_network_of_the_space() -> None:
    space, rng = nested(), random.Random(0)
    table = genes(space)
    for _ in range(50):
        genome = {path: rng.randrange(len(options)) for path, options in table.items()}
        assert contains(space, decode(space, genome, table))


def test_genes_without_effect_do_not_tell_networks_apart(toy) -> None:
    table = genes(toy.space)
    genome = encode(toy.space, smallest(toy.space), table)
    hidden = {**genome, "stages.0.blocks.5.0.heads": 2}
    assert encode(toy.space, decode(toy.space, hidden, table), table) == genome
