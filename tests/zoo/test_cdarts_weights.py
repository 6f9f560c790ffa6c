from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from vitesse.arch import AuxiliaryHead, cost, tensors
from vitesse.arch.genotype import genotype_text
from vitesse.errors import VitesseError
from vitesse.nets import build
from vitesse.weights.slice import lengths
from vitesse.zoo import cdarts_cifar10, cdarts_imagenet, from_published
from vitesse.zoo.cdarts import CIFAR_GENOTYPE, cell_network
from vitesse.zoo.cdarts_weights import published_name
from vitesse.zoo.published import MODELS
from vitesse.zoo.resolution import at_resolution


@pytest.fixture(scope="module")
def record(golden):
    return golden("cdarts_eval_net_A")


@pytest.fixture(scope="module")
def config(record):
    return {**record.facts["constructor"], "genotypes_dict": record.facts["genotypes"]}


@pytest.fixture(scope="module")
def double(record, config):
    state = {name: t.double() if t.is_floating_point() else t for name, t in record.state.items()}
    return from_published("cdarts", state, config)


def relative(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).abs().max() / expected.abs().max()).item()


def test_outputs_and_what_lies_between_agree(record, double) -> None:
    images, expected = record.tensors["input"].double(), record.tensors
    assert not double.training and cost(double.arch).params == record.facts["n_params"]
    with torch.no_grad():
        assert relative(double(images), expected["output_f64"]) < 1e-12
        first = double.stem(images)[1]
        assert relative(first, expected["mid.feature_extractor.0"].double()) < 1e-6
        cell = double.stages[0]["cells"][0]
        assert relative(cell(first, first), expected["mid.nas_layers.0.0"].double()) < 1e-5


def test_gradients_agree(record, config) -> None:
    network = from_published("cdarts", record.state, config)
    images = record.tensors["input"].clone().requires_grad_()
    output = network(images)
    assert relative(output.detach(), record.tensors["output"]) < 1e-5
    (output * record.tensors["cotangent"]).sum().backward()
    # Where pooling is nearly tied, float64 takes another way than the record's float32.
    assert relative(images.grad, record.tensors["grad.input"]) < 1e-4
    norms = record.facts["grad_l2"]
    for name, parameter in network.named_parameters():
        theirs = published_name(name, network.arch)
        assert float(parameter.grad.norm()) == pytest.approx(norms[theirs], rel=1e-3), theirs


def test_the_published_state_has_our_names_and_shapes(golden) -> None:
    digest = golden("digest_cdarts_cifar").facts
    arch = cdarts_cifar10()
    shapes = {published_name(name, arch): lengths(shape) for name, shape in tensors(arch).items()}
    assert shapes == {name: tuple(shape) for name, shape, _ in digest["state"]}
    assert cost(arch).params == digest["n_params"] == 3_859_318
    kinds = ((name, "int64" if name.endswith("tracked") else "float32") for name in sorted(shapes))
    lines = (f"{name}:{'x'.join(map(str, shapes[name]))}:{kind}" for name, kind in kinds)
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == digest["sha256_sorted"]


def test_the_published_counts() -> None:
    price = cost(cdarts_imagenet())
    assert (price.params, round(price.macs / 1e6, 1)) == (6_360_256, 712.9)
    assert round(cost(cdarts_cifar10()).macs / 1e6, 1) == 590.1
    figures = {model.name: model.published for model in MODELS}
    assert "CIFAR-10" in figures["cdarts_cifar10"].source


@pytest.mark.parametrize("kind", ["cifar", "imagenet"])
def test_the_auxiliary_head_is_read(kind) -> None:
    torch.manual_seed(0)
    arch = cell_network(kind, [CIFAR_GENOTYPE] * 3, channels=4, classes=5, image=(32, 32), auxiliary=True)
    network = build(arch).eval()
    state = {published_name(name, arch): tensor for name, tensor in network.state_dict().items()}
    parts = {"cifar": "2356", "imagenet": "235"}[kind]
    assert {name.split(".")[2] for name in state if name.startswith("aux_head.features")} == set(parts)
    config = {"model_type": kind, "init_channel": 4, "stem_multiplier": 3 if kind == "cifar" else 1, "num_classes": 5}
    config |= {"genotypes_dict": {stage: genotype_text(CIFAR_GENOTYPE) for stage in range(3)}, "img_size": 32}
    found = from_published("cdarts", state, config)
    assert found.arch == arch and isinstance(found.arch.auxiliary, AuxiliaryHead)
    held = network.state_dict()
    assert all(torch.equal(tensor, held[name]) for name, tensor in found.state_dict().items())
    bare = from_published("cdarts", {k: v for k, v in state.items() if not k.startswith("aux_head")}, config)
    assert bare.arch == replace(arch, auxiliary=None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"res_stem": True}, "res_stem False"),
        ({"model_type": "svhn"}, "model_type"),
        ({"width": 3}, "no setting width"),
        ({"n_nodes": 5}, "n_nodes is 5"),
        ({"genotypes_dict": None}, "genotypes_dict"),
        ({"genotypes_dict": {"1": genotype_text(CIFAR_GENOTYPE)}}, "stages from 0"),
        ({"genotypes_dict": {0: "Genotype()"}}, "cannot be read"),
        ({"genotypes_dict": {0: 3}}, "cannot be read"),
        ({"num_classes": 11}, "of another shape: fc.weight"),
        ({"init_channel": 3}, "cannot be made"),
    ],
)
def test_what_does_not_fit_is_named(record, config, change, message) -> None:
    with pytest.raises(VitesseError, match=message):
        from_published("cdarts", record.state, config | change)


def test_images_of_another_size(record, double) -> None:
    larger = at_resolution(double, (40, 36))
    assert larger.arch.stem.image == (40, 36) and not larger.training
    with torch.no_grad():
        images = record.tensors["input"].double()
        assert torch.equal(larger(images), double(images))
