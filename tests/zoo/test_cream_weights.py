"""Published weights of Cream: networks, whole checkpoints and supernets compute what the published code computed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vitesse.arch import cost, parameters
from vitesse.arch.axes import count
from vitesse.errors import VitesseError
from vitesse.supernet import holding, inherit
from vitesse.zoo import from_published, published_arch
from vitesse.zoo.cream import chain, slots_of
from vitesse.zoo.cream_settings import CreamSettings
from vitesse.zoo.cream_weights import names


@pytest.fixture(scope="module")
def record(golden):
    return golden("cream_child_A")


@pytest.fixture(scope="module")
def config(record):
    return {**record.config, "resolution": 64}


@pytest.fixture(scope="module")
def network(record, config):
    return from_published("cream", record.state, config)


def relative(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).abs().max() / expected.abs().max()).item()


def double(state):
    return {name: t.double() if t.is_floating_point() else t for name, t in state.items()}


def test_outputs_agree(record, config, network) -> None:
    assert not network.training and cost(network.arch).params == record.facts["n_params"]
    images = record.tensors["input"]
    with torch.no_grad():
        assert relative(network(images), record.tensors["output"]) < 1e-5
        exact = from_published("cream", double(record.state), config)(images.double())
    assert relative(exact, record.tensors["output_f64"]) < 1e-12


def test_what_lies_between_agrees(record, network) -> None:
    with torch.no_grad():
        found = network.forward_intermediates(record.tensors["input"], intermediates_only=True)
    for s in (1, 2, 3, 4):  # the last is a stage of one 1x1 convolution
        assert relative(found[s], record.tensors[f"mid.blocks.{s}"]) < 1e-5
    assert network.feature_info[-1]["module"] == "stages.4.down"


def test_gradients_agree(record, config, network) -> None:
    images = record.tensors["input"].clone().requires_grad_()
    network.zero_grad()
    (network(images) * record.tensors["cotangent"]).sum().backward()
    assert images.grad is not None
    assert relative(images.grad[:, :, 8:24, 8:24], record.tensors["grad.input_crop"]) < 1e-4
    settings = CreamSettings.read(config)
    theirs = names(settings.slots(), network.arch, settings.stem_size)
    squares = {theirs[name]: float(p.grad.norm()) for name, p in network.named_parameters()}
    assert squares == pytest.approx(record.facts["grad_l2"], rel=1e-4)


@pytest.mark.parametrize("name", ["14", "287"])
def test_the_published_networks_have_these_tensors(golden, name) -> None:
    facts = golden(f"digest_cream_{name}").facts
    config = {"arch_list": facts["arch_list"], "resolution": facts["resolution"]}
    state = {key: torch.empty(shape, device="meta") for key, shape, _ in facts["state"]}
    settings = CreamSettings.read(config)
    arch = settings.arch(settings.slots())
    assert cost(arch).params == facts["n_params"]
    assert set(names(settings.slots(), arch, settings.stem_size).values()) == set(state)


def test_the_published_network_agrees_at_its_real_size(golden, recipe) -> None:
    record, digest = golden("published_out_cream_14_A"), golden("digest_cream_14")
    shapes = {key: shape for key, shape, _ in digest.facts["state"]}
    state = record.state | {key: torch.zeros(shape) for key, shape in shapes.items() if key.endswith("tracked")}
    for key, how in record.facts["recipe"].items():
        state[key] = torch.from_numpy(recipe.weights(key, shapes[key], *how))
    config = {name: record.facts[name] for name in ("arch_list", "resolution")}
    network = from_published("cream", state, config)
    with torch.no_grad():
        found = network(torch.from_numpy(recipe.images(record.facts["input_shape"], 2024)))
    assert relative(found, record.tensors["output"]) < 1e-5
    checkpoint = {"epoch": 3, "state_dict": {name: t * 0 for name, t in state.items()}, "state_dict_ema": state}
    again = from_published("cream", checkpoint, config)
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in again.state_dict().items())


def test_a_supernet_agrees_along_its_paths(golden) -> None:
    record = golden("cream_supernet_small_A")
    config = {**record.config, "resolution": 32}
    supernet = from_published("cream_supernet", record.state, config)
    exact = from_published("cream_supernet", double(record.state), config)
    for number, one in enumerate(record.facts["paths"]):
        arch = published_arch("cream_supernet", config, one)
        images = record.tensors["input"]
        with torch.no_grad():
            assert relative(supernet(images, arch), record.tensors[f"path{number}.output"]) < 1e-5
            assert relative(exact(images.double(), arch), record.tensors[f"path{number}.output_f64"]) < 1e-12
            assert relative(inherit(supernet.network, arch)(images), record.tensors[f"path{number}.output"]) < 1e-5


def test_the_published_supernet_has_these_weights(golden) -> None:
    """But for the network that matches teachers, and the fifth layer of the third stage, which no path reaches."""
    facts = golden("cream_supernet_A").facts
    depths = list(facts["flops_est"]["sta_num"])
    depths[2] += 1
    host = holding(chain(slots_of(depths), classes=1000, image=224))
    matching = 4 * 1000 + 1
    assert count(parameters(host)) + matching == facts["digest"]["n_params"]


def test_settings_that_are_none_of_cream_are_refused(record, config) -> None:
    for change, match in (
        ({"arch_list": [[0]] * 7}, "either arch_def or arch_list"),
        ({"head_bias": False}, "head_bias"),
        ({"depth": 3}, "no setting depth"),
        ({"arch_def": [["ir_r1_k3_s1_e4_c8_se0.5"]]}, "string like"),
        ({"resunit": True}, "resunit"),
        ({"num_classes": 7}, "of another shape: classifier.weight"),
    ):
        with pytest.raises(VitesseError, match=match):
            from_published("cream", record.state, {**config, **change})
    with pytest.raises(VitesseError, match="no such path"):
        published_arch("cream_supernet", config, {"path": [[0], [9]]})
