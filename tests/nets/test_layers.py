from __future__ import annotations

import pytest
from timm.optim import create_optimizer_v2
from timm.optim._param_groups import param_groups_layer_decay
from torch import nn

from vitesse.nets import Network, build
from vitesse.supernet import Supernet
from vitesse.zoo.tinyvit import tiny_vit

ARCH = tiny_vit(
    dims=(8, 8, 8, 8), depths=(2, 2, 6, 2), heads=(1,) * 4, windows=(1, 7, 14, 7), classes=3, image=(64, 64)
)
# As TinyViT is tuned, with a decay of 0.8 and twelve blocks.
SCALES = {
    "stem.convs.0.conv.weight": 0.085899,
    "stages.0.blocks.0.0.op.expand.conv.weight": 0.085899,
    "stages.0.blocks.1.0.op.expand.conv.weight": 0.107374,
    "stages.1.down.project.norm.weight": 0.107374,
    "stages.1.blocks.0.0.op.qkv.weight": 0.134218,
    "stages.1.blocks.1.1.op.depthwise.norm.bias": 0.167772,
    "stages.2.down.expand.conv.weight": 0.167772,
    "stages.2.blocks.0.2.op.fc1.weight": 0.209715,
    "stages.2.blocks.5.0.op.position.offset_bias": 0.64,
    "stages.3.down.expand.conv.weight": 0.64,
    "stages.3.blocks.0.0.op.proj.bias": 0.8,
    "stages.3.blocks.1.2.op.fc2.weight": 1.0,
    "head.norm.weight": 1.0,
    "head.classifier.weight": 1.0,
}


@pytest.fixture(scope="module")
def network() -> Network:
    return build(ARCH)


def scales(module: nn.Module) -> dict[str, float]:
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    groups = param_groups_layer_decay(module, layer_decay=0.8)
    return {names[id(parameter)]: group["lr_scale"] for group in groups for parameter in group["params"]}


def test_rates_fall_from_the_head_to_the_stem(network: Network) -> None:
    found = scales(network)
    assert {name: found[name] for name in SCALES} == pytest.approx(SCALES, abs=1e-6)
    assert found.keys() == dict(network.named_parameters()).keys()


def test_a_supernet_is_tuned_alike() -> None:
    found = scales(Supernet(ARCH))
    assert {name: found[f"network.{name}"] for name in SCALES} == pytest.approx(SCALES, abs=1e-6)


def test_vectors_biases_and_tables_do_not_decay(network: Network) -> None:
    optimizer = create_optimizer_v2(network, opt="adamw", lr=1e-3, weight_decay=0.1)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    decaying = {names[id(p)] for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    matrices = {name for name, p in network.named_parameters() if p.ndim > 1 and not name.endswith("offset_bias")}
    assert decaying == matrices and "stages.1.blocks.0.0.op.position.offset_bias" not in decaying
