from __future__ import annotations

import pytest

from vitesse.arch import contains, cost, from_json, largest, size, smallest, to_json
from vitesse.errors import VitesseError
from vitesse.zoo import autoformer as family
from vitesse.zoo import published_arch, published_cost

# The published networks and spaces: parameters of the network, of the smallest and of the largest of its space.
SIZES = {
    "tiny": (5_867_944, 5_366_056, 10_517_272),
    "small": (22_891_432, 13_057_320, 34_790_440),
    "base": (53_691_688, 41_687_896, 76_882_264),
}
STORED = {"TINY": 11_669_224, "SMALL": 34_790_440, "BASE": 80_160_360}


@pytest.mark.parametrize("name", SIZES)
def test_parameters_are_the_published_ones(name):
    space = getattr(family, f"autoformer_{name}_space")()
    archs = (getattr(family, f"autoformer_{name}")(), smallest(space), largest(space))
    assert tuple(cost(arch).params for arch in archs) == SIZES[name]


@pytest.mark.parametrize("name", STORED)
def test_the_host_is_the_published_storage(name):
    assert cost(family.host(getattr(family, name))).params == STORED[name]


def test_space_sizes_are_those_of_the_published_settings():
    assert size(family.autoformer_tiny_space()) == 3 * (4**12 + 4**13 + 4**14)
    assert size(family.autoformer_base_space()) == 3 * (6**14 + 6**15 + 6**16)


def test_the_tiny_network_lies_outside_its_space_and_the_others_inside():
    assert not contains(family.autoformer_tiny_space(), family.autoformer_tiny())
    assert contains(family.autoformer_small_space(), family.autoformer_small())
    assert contains(family.autoformer_base_space(), family.autoformer_base())


def test_values_take_classes_and_image_and_round_trip():
    space = family.autoformer_tiny_space(classes=10, image=64)
    assert (space.head.classes, space.stem.image) == (10, (64, 64))
    assert from_json(to_json(space)) == space


@pytest.mark.parametrize("name", ["T", "S", "B"])
def test_counts_are_those_of_the_published_code(golden, name):
    record = golden(f"autoformer_space_{name}_A")
    for case in [*record.facts["configs"], record.facts["searched"]]:
        found = published_cost("autoformer", record.config, case["config"])
        assert found == {"params": case["params"], "complexity": case["complexity"]}
        assert cost(published_arch("autoformer", record.config, case["config"])).params == case["params"]
    assert cost(family.host(record.config)).params == record.facts["supernet_params"]


def test_sampled_networks_lie_in_the_published_space(golden):
    record = golden("autoformer_space_S_A")
    for case in record.facts["configs"]:
        assert contains(family.space(record.config), published_arch("autoformer", record.config, case["config"]))


def test_hidden_widths_are_rounded_as_published():
    config = {**family.TINY, "embed_dim": 256}
    arch = published_arch("autoformer", config, sampled(embed=100, ratio=1.15))  # 1.15 * 100 = 114.99999999999999
    assert arch.stages[0].blocks[0].branches[1].hidden(100) == 114


def test_without_choices_the_space_is_the_host():
    config = {**family.RELEASED, "embed_dim": 128, "depth": 2, "num_heads": 2}
    assert family.space(config) == family.host(config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer_num": 15}, "layer_num must be an integer from 1 to 14"),
        ({"num_heads": [3]}, "one value for each of the 2 layers"),
        ({"embed_dim": [192, 216]}, "one embed_dim"),
        ({"embed_dim": [320, 320]}, "embed_dim must be an integer from 1 to the stored 256"),
        ({"num_heads": [5, 3]}, "num_heads must be an integer from 1 to the stored 4"),
        ({"mlp_ratio": [9.0, 3.5]}, "between 1 and the stored 1024"),
        ({"widths": []}, "A sampled AutoFormer has"),
    ],
)
def test_a_network_that_is_no_slice_is_refused(change, message):
    with pytest.raises(VitesseError, match=message):
        published_arch("autoformer", family.TINY, {**sampled(embed=192, ratio=3.5), **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pre_norm": False}, "pre_norm=False"),
        ({"scale": True}, "scale=True"),
        ({"change_qkv": False}, "Set change_qkv=True"),
        ({"colour": 3}, "no setting colour"),
        ({"depth": 0}, "must be positive numbers"),
        ({"img_size": [224, 160]}, "wrong off square maps"),
        ({"img_size": 225}, "multiple of the patch"),
        ({"choices": {"depth": [20]}}, "A depth must be an integer from 1 to 14"),
        ({"choices": {"heads": [3]}}, "choices may list"),
        ({"choices": {"num_heads": [3, 8]}}, "the stored 4"),
    ],
)
def test_settings_that_are_not_supported_are_refused(change, message):
    with pytest.raises(VitesseError, match=message):
        family.space({**family.TINY, **change})


def test_an_unknown_family_is_refused():
    with pytest.raises(VitesseError, match="autoformer"):
        published_arch("resnet", {}, {})


def sampled(*, embed, ratio):
    return {"layer_num": 2, "embed_dim": [embed] * 2, "num_heads": [3] * 2, "mlp_ratio": [ratio] * 2}
