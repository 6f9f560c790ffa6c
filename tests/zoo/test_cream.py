"""The chains of Cream and CDARTS as values: counts, paths, the band's rule, and costs as published."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from vitesse.arch import Skip, contains, cost, from_json, sample, size, to_json
from vitesse.errors import UsageError
from vitesse.zoo import cdarts_a, cdarts_b, cream_14, cream_43, cream_114, cream_287, cream_481, cream_604, cream_space
from vitesse.zoo.cream import ENCODINGS, OPERATIONS, arch_path, path_arch, published_path
from vitesse.zoo.cream_space import band, path_flops, path_table, published_flops

COUNTED = {
    cream_14: (2_673_096, 13_188_608, 13_842_176),
    cream_43: (4_398_600, 40_655_232, 42_402_240),
    cream_114: (4_410_120, 109_623_680, 114_476_480),
    cream_287: (6_044_368, 276_262_016, 287_178_432),
    cream_481: (7_713_360, 460_398_080, 481_575_488),
    cream_604: (9_695_624, 578_698_368, 604_310_080),
    cdarts_a: (6_987_728, 283_102_336, 294_112_832),
    cdarts_b: (6_352_984, 376_204_032, 394_094_912),
}


@pytest.mark.parametrize("make", COUNTED)
def test_counts_are_the_published_ones(make) -> None:
    arch = make()
    assert (cost(arch).params, cost(arch).macs, published_flops(arch)) == COUNTED[make]
    assert arch_path(arch) == published_path(ENCODINGS[make.__name__])


def test_a_single_layer_is_overridden_only_in_published_encodings() -> None:
    path = ENCODINGS["cream_14"]
    assert published_path(path) == [[0], [0], [3, 3], [3, 3], [1], [3], [0]]
    assert arch_path(path_arch(path)) == path
    assert path_arch(path, image=64) != cream_14()


def test_operations_are_numbered_as_published() -> None:
    assert OPERATIONS == ((3, 4), (3, 6), (5, 4), (5, 6), (7, 4), (7, 6))


def test_costs_of_layers_are_the_published_table(golden) -> None:
    """All sixty, computed."""
    table = golden("cream_supernet_A").facts["flops_op_dict"]
    found = path_table()
    assert sum(len(costs) for stage in table.values() for costs in stage.values()) == 60
    for stage, operations in table.items():
        for number, costs in operations.items():
            assert found[int(stage)][int(number)] == pytest.approx(costs, abs=1e-9)


def test_costs_of_paths_are_the_published_estimate(golden) -> None:
    for one in golden("cream_supernet_A").facts["candidates"]:
        assert path_flops(one["cand"]) == pytest.approx(one["flops_M"], abs=1e-9)


@pytest.mark.parametrize(
    ("limit", "depths", "side"),
    [
        (14, [1, 1, 1, 1, 1], 96), (23, [1, 1, 1, 1, 1], 128), (30, [1, 1, 1, 1, 1], 128), (43, [1, 1, 1, 1, 1], 160),
        (60, [1, 1, 1, 1, 1], 192), (72, [1, 1, 1, 1, 1], 224), (120, [1, 1, 1, 1, 1], 224),
        (150, [1, 1, 2, 1, 1], 224), (200, [1, 1, 3, 2, 1], 224), (250, [1, 1, 3, 3, 2], 224),
        (287, [1, 1, 3, 3, 3], 224), (350, [2, 2, 3, 3, 3], 224), (400, [2, 2, 4, 4, 3], 224),
        (450, [2, 3, 4, 4, 4], 224), (481, [2, 4, 4, 4, 4], 224), (550, [3, 4, 4, 4, 4], 224),
        (600, [4, 4, 4, 4, 4], 224),
    ],
)  # fmt: skip
def test_a_band_says_depths_and_resolution(limit, depths, side) -> None:
    assert band(limit) == (depths, side)


def test_bands_with_a_lower_end(golden) -> None:
    for one in golden("cream_supernet_A").facts["search_for_layer"]:
        assert band(one["flops_maximum"], one["flops_minimum"]) == (one["sta_num"], one["resolution"])
    assert band(145, 140)[0] == [1, 1, 2, 1, 1]
    assert band(100, 140)[0] == [1, 1, 2, 1, 1]  # grown to the lower end first


@pytest.mark.parametrize(("high", "low"), [(2, 0), (700, 600)])
def test_a_band_without_networks_is_refused(high, low) -> None:
    with pytest.raises(UsageError, match="No network of Cream's space"):
        band(high, low)


def test_the_space_of_a_band() -> None:
    space = cream_space(max_flops=200)
    assert size(space) == 6**8 and space.stem.image == (224, 224)
    arch = sample(space, random.Random(0))
    path = arch_path(arch)
    assert [len(stage) for stage in path] == [1, 1, 1, 3, 2, 1, 1]
    assert path_arch(path) == arch and contains(space, arch)
    assert from_json(to_json(space)) == space and json.dumps(path)
    assert cream_space(max_flops=14).stem.image == (96, 96)


def test_a_layer_may_be_left_out_where_it_is_asked_for() -> None:
    plain, space = cream_space(max_flops=200), cream_space(max_flops=200, skip=True)
    assert size(space) == 6**5 * 7**3
    arch = next(a for a in (sample(space, random.Random(seed)) for seed in range(50)) if not contains(plain, a))
    skips = sum(one == Skip() for stage in arch.stages for block in stage.blocks for one in block.branches)
    path = arch_path(arch)
    assert skips and sum(map(len, path)) == 10 - skips
    assert cost(path_arch(path)).macs == cost(arch).macs and published_flops(path_arch(path)) == published_flops(arch)
    assert path_flops([[0], [0], [0], [0, -1], [0], [0], [0]]) == path_flops([[0], [0], [0], [0], [0], [0], [0]])


def test_what_is_no_path_is_refused() -> None:
    for path in ([[0], [6], [0], [0], [0], [0], [0]], [[0], [-1], [0], [0], [0], [0], [0]], [[0], [0], [0]]):
        with pytest.raises(ValueError, match=r"[Pp]ath|zip"):
            path_arch(path)
    relu = replace(cream_14(), stem=replace(cream_14().stem, act="relu"))
    assert arch_path(relu) == arch_path(cream_14())  # the stem is the images' affair
    wide = replace(cream_14(), stages=tuple(replace(stage, dim=stage.dim + 8) for stage in cream_14().stages))
    with pytest.raises(ValueError, match="Cream's space"):
        arch_path(wide)
