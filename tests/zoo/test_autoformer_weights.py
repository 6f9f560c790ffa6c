from __future__ import annotations

import math

import pytest
import torch

from vitesse.errors import VitesseError
from vitesse.supernet import inherit
from vitesse.zoo import from_published, published_arch
from vitesse.zoo.autoformer import TINY

SUBNETS = range(4)


@pytest.fixture(scope="module")
def record(golden):
    return golden("autoformer_A")


@pytest.fixture(scope="module")
def supernet(record):
    return from_published("autoformer", record.state, record.config)


def subnet(record, index):
    return published_arch("autoformer", record.config, record.facts["subnets"][index]["config"])


@pytest.mark.parametrize("index", SUBNETS)
def test_outputs_agree(record, supernet, index):
    expected = record.tensors[f"sub{index}.output"]
    with torch.no_grad():
        found = supernet(record.tensors["input"], subnet(record, index))
    assert relative(found, expected) < 1e-5


@pytest.mark.parametrize("index", SUBNETS)
def test_outputs_agree_in_double(record, index):
    """The published code evaluates GELU in float32 even then, ours does not: the plain reading stands between the two."""
    state = {name: tensor.double() for name, tensor in record.state.items()}
    sampled = record.facts["subnets"][index]["config"]
    images, expected = record.tensors["input"].double(), record.tensors[f"sub{index}.output_f64"]
    with torch.no_grad():
        found = from_published("autoformer", state, record.config)(images, subnet(record, index))
    # The published GELU runs in float32 even there, and what it rounds differs from processor to processor.
    assert relative(plain(images, state, record.config, sampled, gelu_dtype=torch.float32), expected) < 1e-7
    assert relative(found, plain(images, state, record.config, sampled)) < 1e-12
    assert relative(found, expected) < 1e-7


@pytest.mark.parametrize("index", SUBNETS)
def test_blocks_agree(record, supernet, index):
    small = inherit(supernet.network, subnet(record, index))
    with torch.no_grad():
        found = small.forward_intermediates(
            record.tensors["input"], output_fmt="NLC", return_prefix_tokens=True, intermediates_only=True
        )
    for block, (patches, prefix) in enumerate(found):
        expected = record.tensors[f"sub{index}.mid.blocks.{block}"]
        assert relative(torch.cat([prefix, patches], 1), expected) < 1e-5


def test_gradients_agree(record, supernet):
    supernet.zero_grad()
    (supernet(record.tensors["input"], subnet(record, 0)) * record.tensors["sub0.cotangent"]).sum().backward()
    found = {name: 0.0 if p.grad is None else p.grad.norm().item() for name, p in supernet.network.named_parameters()}
    for theirs, expected in record.facts["subnets"][0]["grad_l2"].items():
        assert norm_of(found, supernet, theirs) == pytest.approx(expected, rel=1e-4), theirs


def test_the_supernet_is_as_large_as_the_storage(record, supernet):
    assert sum(p.numel() for p in supernet.parameters()) == record.facts["n_params"]
    assert not supernet.training


def test_the_published_network_agrees_at_its_real_size(golden, recipe):
    record = golden("published_out_autoformer_T_searched_A")
    config = golden("autoformer_space_T_A").config
    shapes = expected_shapes(config)
    state = {
        key: torch.from_numpy(recipe.weights(key, shapes[key], *how)) for key, how in record.facts["recipe"].items()
    }
    supernet = from_published("autoformer", state, config)
    images = torch.from_numpy(recipe.images(record.facts["input_shape"], 2024))
    with torch.no_grad():
        found = supernet(images, published_arch("autoformer", config, record.facts["subnet"]))
    assert relative(found, record.tensors["output"]) < 1e-5


def test_keys_and_shapes_that_do_not_fit_are_named_together(record):
    state = record.state
    del state["norm.weight"]
    state["mystery"] = torch.zeros(1)
    state["head.bias"] = torch.zeros(3)
    with pytest.raises(
        VitesseError, match=r"missing: norm\.weight; unknown: mystery; .*head\.bias \(3,\) instead of \(10,\)"
    ):
        from_published("autoformer", state, record.config)


# Settings that no record covers: held against a plain reading of the published forward pass.
@pytest.mark.parametrize(
    "change",
    [
        {"gp": False},
        {"relative_position": False},
        {"qkv_bias": False},
        {"abs_pos": False},
        {"num_classes": 0},
        {"in_chans": 1},
        {"max_relative_position": 1},
        {"embed_dim": 160},  # holds two heads and a half: what is beyond the second is used by no network
        {"change_qkv": False, "num_heads": 4, "choices": {}},
    ],
    ids=str,
)
def test_other_settings_agree_with_a_plain_reading(record, change):
    config = {**record.config, **change}
    widths = [96, 96] if config["choices"] else [128, 128]
    heads = [1, 2] if config["choices"] else [4, 4]
    sampled = {"layer_num": 2, "embed_dim": widths, "num_heads": heads, "mlp_ratio": [1.5, 2.0]}
    state = random_state(config)
    images = torch.randn(2, config.get("in_chans", 3), 32, 32, generator=torch.Generator().manual_seed(1)).double()
    supernet = from_published("autoformer", state, config)
    with torch.no_grad():
        found = supernet(images, published_arch("autoformer", config, sampled))
    assert relative(found, plain(images, state, config, sampled)) < 1e-9


def plain(images, state, config, sampled, gelu_dtype=torch.float64):
    """The published forward pass, slice by slice and pair by pair (facts as the paper and the record describe them)."""
    layer_norm, linear = torch.nn.functional.layer_norm, torch.nn.functional.linear
    width = sampled["embed_dim"][0]

    def norm(x, name):
        return layer_norm(x, (width,), state[f"{name}.weight"][:width], state[f"{name}.bias"][:width], 1e-5)

    x = torch.nn.functional.conv2d(
        images, state["patch_embed_super.proj.weight"][:width], state["patch_embed_super.proj.bias"][:width], stride=8
    )
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([state["cls_token"][..., :width].expand(len(x), -1, -1), x], 1)
    if config.get("abs_pos", True):
        x = x + state["pos_embed"][..., :width]
    for b, (heads, ratio) in enumerate(zip(sampled["num_heads"], sampled["mlp_ratio"], strict=True)):
        head = 64 if config["change_qkv"] else config["embed_dim"] // heads
        inner, hidden, name = heads * head, int(width * ratio), f"blocks.{b}."
        weight = state[name + "attn.qkv.weight"][: 3 * inner, :width]
        weight = torch.cat([weight[t::3] for t in range(3)]) if config["change_qkv"] else weight
        bias = state[name + "attn.qkv.bias"][: 3 * inner] if config["qkv_bias"] else None
        joint = linear(norm(x, name + "attn_layer_norm"), weight, bias).view(2, 17, 3, heads, head)
        q, k, v = joint.permute(2, 0, 3, 1, 4)
        scores, values = q @ k.transpose(-1, -2), 0
        if config["relative_position"]:
            keys, values = (vectors(state, name + f"attn.rel_pos_embed_{side}", config, head) for side in "kv")
            scores = scores + torch.einsum("bhid,ijd->bhij", q, keys)
        shares = (scores * head**-0.5).softmax(-1)
        out = shares @ v
        if config["relative_position"]:
            out = out + torch.einsum("bhij,ijd->bhid", shares, values)
        out = out.transpose(1, 2).flatten(2)
        x = x + linear(out, state[name + "attn.proj.weight"][:width, :inner], state[name + "attn.proj.bias"][:width])
        y = norm(x, name + "ffn_layer_norm")
        y = linear(y, state[name + "fc1.weight"][:hidden, :width], state[name + "fc1.bias"][:hidden])
        y = torch.nn.functional.gelu(y.to(gelu_dtype)).to(y.dtype)
        x = x + linear(y, state[name + "fc2.weight"][:width, :hidden], state[name + "fc2.bias"][:width])
    x = norm(x, "norm")
    x = x[:, 1:].mean(1) if config["gp"] else x[:, 0]
    return linear(x, state["head.weight"][:, :width], state["head.bias"]) if config["num_classes"] else x


def vectors(state, name, config, head):
    """The relative vector of each pair of tokens, (N, N, head)."""
    reach, side = config["max_relative_position"], 4
    place = torch.arange(side * side)
    total = 0
    for axis, coordinate in (("v", place // side), ("h", place % side)):
        index = torch.zeros(17, 17, dtype=torch.long)
        index[1:, 1:] = (coordinate[None, :] - coordinate[:, None]).clamp(-reach, reach) + reach + 1
        total = total + state[f"{name}.embeddings_table_{axis}"][:, :head][index]
    return total


def relative(found, expected):
    return ((found - expected).abs().max() / expected.abs().max()).item()


def norm_of(found, supernet, theirs):
    """The gradient norm of their parameter from those of ours; their tables hold two of ours."""
    names = {
        "pos_embed": "stem.position",
        "cls_token": "stem.tokens",
        "patch_embed_super.proj.weight": "stem.proj.weight",
        "patch_embed_super.proj.bias": "stem.proj.bias",
    }
    if theirs in names:
        return found[names[theirs]]
    if not theirs.startswith("blocks."):
        return found["head." + theirs.replace("head.", "classifier.")]
    _, block, rest = theirs.split(".", 2)
    branch = f"stages.0.blocks.{block}."
    if "rel_pos" in rest:
        side = "key" if "embed_k" in rest else "value"
        table, row = ("rows", 0) if rest.endswith("_v") else ("columns", 1)
        extra = supernet.network.get_parameter(f"{branch}0.op.position.{side}_extra").grad[row]
        return math.hypot(found[f"{branch}0.op.position.{side}_{table}"], extra.norm().item())
    for old, new in (
        ("attn_layer_norm", "0.norm"),
        ("ffn_layer_norm", "1.norm"),
        ("attn.", "0.op."),
        ("fc", "1.op.fc"),
    ):
        if rest.startswith(old):
            return found[branch + new + rest.removeprefix(old)]
    raise AssertionError(theirs)


def expected_shapes(config):
    from vitesse.zoo.autoformer_settings import AutoFormerSettings
    from vitesse.zoo.autoformer_weights import _shapes

    return _shapes(AutoFormerSettings.read(config))


def random_state(config):
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(shape, generator=generator, dtype=torch.float64) * 0.2 + (1 if "norm.weight" in name else 0)
        for name, shape in expected_shapes(config).items()
    }


def test_the_stored_settings_of_the_tiny_model_give_its_keys():
    assert len(expected_shapes(TINY)) == 8 + 16 * 14
