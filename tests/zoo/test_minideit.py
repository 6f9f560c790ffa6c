"""Mini-DeiT: its values as published, and its weights in the published layout."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from vitesse.arch import cost
from vitesse.errors import VitesseError
from vitesse.nets import Network
from vitesse.zoo import (
    from_published,
    mini_deit_base_patch16_224,
    mini_deit_small_patch16_224,
    mini_deit_tiny_patch16_224,
)
from vitesse.zoo.minideit_settings import MiniDeiTSettings, arch_of
from vitesse.zoo.minideit_weights import shapes_of, theirs

TINY: dict[str, Any] = {
    "embed_dim": 192,
    "num_heads": 3,
    "qkv_bias": True,
    "use_cls_token": False,
    "repeated_times": 2,
    "use_transform": True,
    "norm_layer": "LayerNorm(eps=1e-6)",
    "rpe_config": {"ratio": 1.9, "method": "product", "mode": "ctx", "shared_head": True, "skip": 0, "rpe_on": "k"},
}


@pytest.fixture(scope="module")
def record(golden: Any) -> Any:
    return golden("minideit_A")


def config_of(record: Any) -> dict[str, Any]:
    return {**record.facts["constructor"], **{name: record.facts[name] for name in ("rpe_config", "norm_layer")}}


def relative(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).abs().max() / expected.abs().max()).item()


def test_outputs_and_gradients_agree(record: Any) -> None:
    network = from_published("minideit", record.state, config_of(record))
    assert isinstance(network, Network) and not network.training
    images = record.tensors["input"].clone().requires_grad_()
    logits = network(images)
    assert relative(logits, record.tensors["output"]) < 1e-5
    (logits * record.tensors["cotangent"]).sum().backward()
    assert relative(images.grad, record.tensors["grad.input"]) < 1e-5
    names = {name: our for our, name in theirs(network.arch).items()}
    for block in range(4):
        table = f"blocks.{block // 2}.block.attn.rpe_k.instances.{block % 2}.lookup_table_weight"
        names[table] = f"stages.0.blocks.{block}.0.op.position.key_table"
    assert set(names) == set(record.facts["grad_l2"])
    for name, expected in record.facts["grad_l2"].items():
        assert network.get_parameter(names[name]).grad.norm().item() == pytest.approx(expected, rel=1e-5), name


def test_outputs_agree_in_double(record: Any) -> None:
    state = {name: tensor.double() for name, tensor in record.state.items()}
    with torch.no_grad():
        found = from_published("minideit", state, config_of(record))(record.tensors["input"].double())
    assert relative(found, record.tensors["output_f64"]) < 1e-12


def test_groups_agree(record: Any) -> None:
    """The records hold what comes out of the last block of each group."""
    network = from_published("minideit", record.state, config_of(record))
    found = network.forward_intermediates(record.tensors["input"], output_fmt="NLC", intermediates_only=True)
    for group, block in enumerate((1, 3)):
        assert relative(found[block], record.tensors[f"mid.blocks.{group}"]) < 1e-5


def test_the_published_network_agrees_at_its_real_size(golden: Any, recipe: Any) -> None:
    record = golden("published_out_mini_deit_tiny_patch16_224_A")
    shapes = shapes_of(arch_of(MiniDeiTSettings.read(TINY)))
    state = {
        name: torch.from_numpy(recipe.weights(name, shapes[name], *how)) for name, how in record.facts["recipe"].items()
    }
    images = torch.from_numpy(recipe.images(record.facts["input_shape"], 2024))
    with torch.no_grad():
        found = from_published("minideit", state, TINY)(images)
    assert relative(found, record.tensors["output"]) < 1e-5


def test_keys_and_shapes_are_the_published_ones(golden: Any) -> None:
    facts = golden("digest_mini_deit_tiny_patch16_224").facts
    found = shapes_of(mini_deit_tiny_patch16_224())
    lines = sorted(f"{name}:{'x'.join(map(str, shape))}:float32" for name, shape in found.items())
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == facts["sha256_sorted"]
    assert {name: list(shape) for name, shape in found.items()} == {name: shape for name, shape, _ in facts["state"]}


def test_the_settings_of_the_published_tiny_model_give_its_value() -> None:
    assert arch_of(MiniDeiTSettings.read(TINY)) == mini_deit_tiny_patch16_224()


def without(arch: Any, **changes: Any) -> Any:
    stage = arch.stages[0]
    attention, mlp = stage.block.branches
    return replace(arch, stages=(replace(stage, block=type(stage.block)(replace(attention, **changes), mlp)),))


def test_parameters_of_every_ablation() -> None:
    made = {"t": mini_deit_tiny_patch16_224, "s": mini_deit_small_patch16_224, "b": mini_deit_base_patch16_224}
    archs = {name: make() for name, make in made.items()}
    assert [cost(without(arch, mix=None)).params for arch in archs.values()] == [3_090_088, 11_449_960, 44_094_952]
    plain = [cost(without(arch, mix=None, position=None)).params for arch in archs.values()]
    assert plain == [3_052_456, 11_412_328, 44_057_320]


def test_one_group_of_twelve_is_nine_times_smaller() -> None:
    base = mini_deit_base_patch16_224()
    assert cost(replace(base, stages=(replace(base.stages[0], share="all"),))).params == 8_674_408


# Settings that no record covers: held against a plain reading of the published forward pass.
@pytest.mark.parametrize(
    "change",
    [
        {"use_transform": False},
        {"use_cls_token": True, "rpe_config": None},
        {"use_cls_token": True, "rpe_config": {"skip": 1}},
        {"repeated_times": 4},
        {"qkv_bias": False, "norm_layer": "LayerNorm"},
        {"num_classes": 0, "in_chans": 1, "mlp_ratio": 2.5},
        {"rpe_config": {"ratio": 0.7, "shared_head": False}},
        {"img_size": [32, 32], "depth": 2, "qk_scale": 0.25},
    ],
    ids=str,
)
def test_other_settings_agree_with_a_plain_reading(record: Any, change: dict[str, Any]) -> None:
    config = {**config_of(record), **change}
    if config["rpe_config"] is not None:
        config["rpe_config"] = {**record.facts["rpe_config"], **config["rpe_config"]}
    generator = torch.Generator().manual_seed(0)
    state = {
        name: torch.randn(shape, generator=generator, dtype=torch.float64) * 0.3 + (1 if "norm" in name else 0)
        for name, shape in shapes_of(arch_of(MiniDeiTSettings.read(config))).items()
    }
    images = torch.randn(2, config.get("in_chans", 3), 32, 32, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        found = from_published("minideit", state, config)(images)
    assert relative(found, plain(images, state, config)) < 1e-9


def plain(images: Tensor, state: dict[str, Tensor], config: dict[str, Any]) -> Tensor:
    """The published forward pass, head by head (facts as the paper and the record describe them)."""
    layer_norm, linear = nn.functional.layer_norm, nn.functional.linear
    width, heads = config["embed_dim"], config["num_heads"]
    eps = 1e-5 if config["norm_layer"] == "LayerNorm" else 1e-6

    def norm(x: Tensor, name: str) -> Tensor:
        return layer_norm(x, (width,), state[f"{name}.weight"], state[f"{name}.bias"], eps)

    x = nn.functional.conv2d(images, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=8)
    x = x.flatten(2).transpose(1, 2)
    if config["use_cls_token"]:
        x = torch.cat([state["cls_token"].expand(2, -1, -1), x], 1)
    x = x + state["pos_embed"]
    for number in range(config["depth"]):
        group, instance = divmod(number, config["repeated_times"])
        block = f"blocks.{group}.block"
        y = norm(x, f"{block}.norm1.instances.{instance}")
        joint = linear(y, state[f"{block}.attn.qkv.weight"], state.get(f"{block}.attn.qkv.bias"))
        q, k, v = joint.unflatten(-1, (3, heads, width // heads)).permute(2, 0, 3, 1, 4)
        q = q * (width // heads) ** -0.5
        scores = q @ k.transpose(-1, -2)
        if config["rpe_config"] is not None:
            table = state[f"{block}.attn.rpe_k.instances.{instance}.lookup_table_weight"]
            index = buckets(config["rpe_config"]["ratio"], config["use_cls_token"])
            products = torch.einsum("bhnd,hdm->bhnm", q, table.expand(heads, -1, -1))
            scores = scores + products.gather(-1, index.expand(2, heads, -1, -1))
        if config["use_transform"]:
            mix = state[f"{block}.attn.conv_l.instances.{instance}.weight"][:, :, 0, 0]
            scores = torch.einsum("on,bnij->boij", mix, scores)
        shares = scores.softmax(-1)
        if config["use_transform"]:
            mix = state[f"{block}.attn.conv_w.instances.{instance}.weight"][:, :, 0, 0]
            shares = torch.einsum("on,bnij->boij", mix, shares)
        out = (shares @ v).transpose(1, 2).flatten(2)
        x = x + linear(out, state[f"{block}.attn.proj.weight"], state[f"{block}.attn.proj.bias"])
        y = norm(x, f"{block}.norm2.instances.{instance}")
        y = nn.functional.gelu(linear(y, state[f"{block}.mlp.fc1.weight"], state[f"{block}.mlp.fc1.bias"]))
        x = x + linear(y, state[f"{block}.mlp.fc2.weight"], state[f"{block}.mlp.fc2.bias"])
    x = norm(x, "norm")
    x = x[:, 0] if config["use_cls_token"] else x.mean(1)
    return linear(x, state["head.weight"], state["head.bias"]) if config["num_classes"] else x


def buckets(ratio: float, extra: bool) -> Tensor:
    """The bucket of each pair of tokens of a map of 4 x 4; the last one is that of pairs with a class token."""

    def one(distance: int) -> int:
        far = abs(distance)
        if far > ratio:
            far = int(min(2 * ratio, round(ratio + math.log(far / ratio) / math.log(8) * ratio)))
        return far if distance >= 0 else -far

    reach = int(2 * ratio)
    side = 2 * reach + 1
    places = [(row, column) for row in range(4) for column in range(4)]
    index = torch.tensor(
        [[(one(r - s) + reach) * side + one(c - d) + reach for s, d in places] for r, c in places], dtype=torch.long
    )
    return nn.functional.pad(index, (1, 0, 1, 0), value=side * side) if extra else index


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"repeated_times": 1}, "at least 2"),
        ({"repeated_times": 3}, "the depth"),
        ({"qk_scale": 0.1}, "qk_scale"),
        ({"hybrid_backbone": "resnet"}, "hybrid_backbone"),
        ({"teacher": 1}, "no setting teacher"),
        ({"norm_layer": "BatchNorm"}, "norm_layer"),
        ({"use_cls_token": True}, "skip"),
        ({"rpe_config": {"metod": "product"}}, "metod"),
        ({"rpe_config": {"method": "diagonal"}}, "diagonal"),
    ],
    ids=str,
)
def test_what_is_not_supported_is_named(record: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(VitesseError, match=message):
        from_published("minideit", record.state, {**config_of(record), **change})


def test_keys_that_do_not_fit_are_named(record: Any) -> None:
    with pytest.raises(VitesseError, match=r"unknown: .*conv_l"):
        from_published("minideit", record.state, {**config_of(record), "use_transform": False})


def test_timm_makes_it_and_its_features() -> None:
    features = timm.create_model(
        "vitesse_mini_deit_tiny_patch16_224", features_only=True, out_indices=(2,), img_size=64
    )
    assert [tuple(one.shape) for one in features(torch.zeros(1, 3, 64, 64))] == [(1, 192, 4, 4)]
    assert json.dumps(timm.get_pretrained_cfg("vitesse_mini_deit_base_patch16_384").input_size) == "[3, 384, 384]"
