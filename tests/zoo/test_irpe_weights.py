from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from vitesse.arch import ImageRelativePosition, cost
from vitesse.errors import VitesseError
from vitesse.ops.buckets import bucket_matrix
from vitesse.zoo import deit_small_patch16_224, from_published, models
from vitesse.zoo.deit_irpe import position, with_positions
from vitesse.zoo.irpe_tables import METHODS, from_theirs, table_shapes, to_theirs

CASES = json.loads((Path(__file__).parents[1] / "golden" / "irpe_A.json").read_text())["forward_cases"]


@pytest.fixture(scope="module")
def one(golden):
    return golden("irpe_A")


@pytest.fixture(scope="module")
def record(golden):
    return golden("deit_irpe_A")


def config(record):
    return {
        **record.facts["constructor"],
        "rpe_config": record.facts["rpe_config"],
        "norm_layer": record.facts["norm_layer"],
    }


def relative(found, expected):
    return ((found - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["key"])
def test_one_encoding_and_its_gradients_agree(one, case):
    def tensors(kind):
        prefix = f"{case['key']}.{kind}."
        return {key.removeprefix(prefix): value for key, value in one.tensors.items() if key.startswith(prefix)}

    encoding = from_published("irpe", tensors("param"), case)
    assert not encoding.training
    x = one.tensors[f"{case['key']}.x"].clone().requires_grad_(case["x_grad"])
    out = encoding(x)
    assert list(out.shape) == case["out_shape"]
    assert relative(out, one.tensors[f"{case['key']}.out"]) < 1e-5
    (out * one.tensors[f"{case['key']}.cot"]).sum().backward()
    if case["x_grad"]:
        assert relative(x.grad, one.tensors[f"{case['key']}.grad_x"]) < 1e-5
    found, expected = encoding.published(gradients=True), tensors("grad")
    assert set(found) == set(expected) == set(encoding.published())
    for name, gradient in expected.items():
        assert relative(found[name], gradient) < 1e-5
        torch.testing.assert_close(encoding.published()[name], tensors("param")[name], rtol=0, atol=0)


def test_outputs_and_intermediates_agree(record):
    network = from_published("deit_irpe", record.state, config(record))
    assert not network.training and sum(p.numel() for p in network.parameters()) == record.facts["n_params"]
    with torch.no_grad():
        found = network(record.tensors["input"])
        _, blocks = network.forward_intermediates(record.tensors["input"], return_prefix_tokens=True, output_fmt="NLC")
    assert relative(found, record.tensors["output"]) < 1e-5
    for b, (patches, prefix) in enumerate(blocks):
        assert relative(torch.cat([prefix, patches], 1), record.tensors[f"mid.blocks.{b}"]) < 1e-5
    double = from_published("deit_irpe", {k: v.double() for k, v in record.state.items()}, config(record))
    with torch.no_grad():
        assert relative(double(record.tensors["input"].double()), record.tensors["output_f64"]) < 1e-9


def test_gradients_agree(record):
    network = from_published("deit_irpe", record.state, config(record))
    images = record.tensors["input"].clone().requires_grad_()
    (network(images) * record.tensors["cotangent"]).sum().backward()
    assert relative(images.grad, record.tensors["grad.input"]) < 1e-5
    expected = record.facts["grad_l2"]
    value = network.arch.stages[0].blocks[0].branches[0].position
    for b in range(2):  # in the last block the class token alone is read, for which the term is a constant
        prefix = f"stages.0.blocks.{b}.0.op."
        gradients = {name: p.grad for name, p in network.get_submodule(f"{prefix}position").named_parameters()}
        found = to_theirs(gradients, value, "key")["lookup_table_weight"].norm().item()
        assert found == pytest.approx(expected[f"blocks.{b}.attn.rpe_k.lookup_table_weight"], rel=1e-4)
        weight = network.get_parameter(f"{prefix}qkv.weight").grad.norm().item()
        assert weight == pytest.approx(expected[f"blocks.{b}.attn.qkv.weight"], rel=1e-4)


def test_the_published_network_agrees_at_its_real_size(golden, recipe):
    record = golden("published_out_deit_tiny_patch16_224_ctx_product_50_shared_k_A")
    shapes = {key: shape for key, shape, _ in golden("digest_" + record.facts["model"]).facts["state"]}
    state = {
        key: torch.from_numpy(recipe.weights(key, shapes[key], *how)) for key, how in record.facts["recipe"].items()
    }
    settings = {
        **{"embed_dim": 192, "depth": 12, "num_heads": 3, "qkv_bias": True, "norm_layer": "LayerNorm(eps=1e-6)"},
        "rpe_config": {"ratio": 1.9, "method": "product", "mode": "ctx", "shared_head": True, "skip": 1, "rpe_on": "k"},
    }
    network = from_published("deit_irpe", state, settings)
    named = {model["name"]: model for model in models()}[record.facts["model"]]
    assert named["params"] == record.facts["n_params"] == cost(network.arch).params
    with torch.no_grad():
        found = network(torch.from_numpy(recipe.images(record.facts["input_shape"], 2024)))
    assert relative(found, record.tensors["output"]) < 1e-5


# Settings that no record covers: held against a plain reading of the published forward pass.
@pytest.mark.parametrize("skip", [1, 2])
@pytest.mark.parametrize(
    "rpe",
    [
        {"method": "product", "mode": "ctx", "shared_head": False, "rpe_on": "qkv", "ratio": 1.9},
        {"method": "euc", "mode": "ctx", "shared_head": True, "rpe_on": "kq", "ratio": 2.5},
        {"method": "quant", "mode": "bias", "shared_head": False, "rpe_on": "qk", "ratio": 3},
        {"method": "cross", "mode": "ctx", "shared_head": False, "rpe_on": "qkv", "ratio": 2},
        {"method": "cross", "mode": "bias", "shared_head": True, "rpe_on": "q", "ratio": 0.7},
        None,
    ],
    ids=str,
)
def test_other_settings_agree_with_a_plain_reading(rpe, skip):
    rpe = rpe and {**rpe, "skip": skip}
    settings = {"img_size": [24, 24], "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 3, "num_classes": 5}
    settings |= {"mlp_ratio": 2, "rpe_config": rpe, "norm_layer": "LayerNorm(eps=1e-6)", "drop_path_rate": 0.1}
    state = random_state(settings, distilled=skip == 2)
    images = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    network = from_published("deit_irpe", state, settings)
    with torch.no_grad():
        assert relative(network(images), plain(images, state, settings)) < 1e-9


def plain(images, state, settings):
    """The published forward pass, with an index of the full table for each pair of tokens."""
    width, heads = settings["embed_dim"], settings["num_heads"]
    linear, norm_of = torch.nn.functional.linear, torch.nn.functional.layer_norm

    def layer(x, name):
        return linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))

    def norm(x, name):
        return norm_of(x, (width,), state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

    x = torch.nn.functional.conv2d(images, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=8)
    x = x.flatten(2).transpose(1, 2)
    tokens = [state[name].expand(2, -1, -1) for name in ("cls_token", "dist_token") if name in state]
    x = torch.cat([*tokens, x], 1) + state["pos_embed"]
    for b in range(settings["depth"]):
        name = f"blocks.{b}."
        joint = layer(norm(x, name + "norm1"), name + "attn.qkv").view(2, -1, 3, heads, width // heads)
        q, k, v = joint.permute(2, 0, 3, 1, 4)
        q = q * (width // heads) ** -0.5
        scores = q @ k.transpose(-1, -2) + term(q, state, name, "k", settings)
        scores = scores + term(k * (width // heads) ** -0.5, state, name, "q", settings).transpose(-1, -2)
        shares = scores.softmax(-1)
        out = shares @ v
        if "v" in (settings["rpe_config"] or {"rpe_on": ""})["rpe_on"]:
            for table, index in tables(state, name, "v", settings, out.shape[2]):
                out = out + torch.einsum("bhij,hijd->bhid", shares, table[:, index].expand(heads, -1, -1, -1))
        x = x + layer(out.transpose(1, 2).flatten(2), name + "attn.proj")
        hidden = torch.nn.functional.gelu(layer(norm(x, name + "norm2"), name + "mlp.fc1"))
        x = x + layer(hidden, name + "mlp.fc2")
    x = norm(x, "norm")
    if "dist_token" in state:
        return (layer(x[:, 0], "head") + layer(x[:, 1], "head_dist")) / 2
    return layer(x[:, 0], "head")


def term(x, state, name, letter, settings):
    rpe = settings["rpe_config"]
    if rpe is None or letter not in rpe["rpe_on"]:
        return torch.zeros((), dtype=x.dtype).expand(1, 1, 1, 1)
    total = 0
    for table, index in tables(state, name, letter, settings, x.shape[2]):
        if rpe["mode"] == "bias":
            total = total + table[:, index][None]
        else:
            total = total + torch.einsum("bhid,hdij->bhij", x, table[:, :, index].expand(x.shape[1], -1, -1, -1))
    return total


def tables(state, name, letter, settings, count):
    """The tables of one side, each with the bucket of each pair."""
    rpe, ratio = settings["rpe_config"], settings["rpe_config"]["ratio"]
    steps = {"alpha": ratio, "beta": 2 * ratio, "gamma": 8 * ratio, "height": 3, "width": 3, "extra": count - 9}
    for key, table in state.items():
        if key.startswith(f"{name}attn.rpe_{letter}."):
            method = {"rp_rows": "cross_rows", "rp_cols": "cross_columns"}.get(
                key.split(".")[4], METHODS[rpe["method"]]
            )
            yield table, bucket_matrix(method, **steps)


def random_state(settings, *, distilled):
    width, heads, hidden = (
        settings["embed_dim"],
        settings["num_heads"],
        int(settings["embed_dim"] * settings["mlp_ratio"]),
    )
    shapes = {"cls_token": (1, 1, width), "pos_embed": (1, 10 + distilled, width)}
    shapes |= {"patch_embed.proj.weight": (width, 3, 8, 8), "patch_embed.proj.bias": (width,)}
    shapes |= {"dist_token": (1, 1, width), "head_dist.weight": (5, width), "head_dist.bias": (5,)} if distilled else {}
    layers = {"norm": (width,), "head": (5, width)}
    for b in range(settings["depth"]):
        layers |= {f"blocks.{b}.norm{i}": (width,) for i in (1, 2)}
        layers |= {f"blocks.{b}.attn.proj": (width, width), f"blocks.{b}.mlp.fc1": (hidden, width)}
        layers |= {f"blocks.{b}.mlp.fc2": (width, hidden)}
        shapes[f"blocks.{b}.attn.qkv.weight"] = (3 * width, width)
        rpe = settings["rpe_config"]
        for letter in rpe["rpe_on"] if rpe else "":
            value = ImageRelativePosition(
                method=METHODS[rpe["method"]],
                mode={"ctx": "contextual", "bias": "bias"}[rpe["mode"]],
                shared=rpe["shared_head"],
                on=letter,
                **{"alpha": rpe["ratio"], "beta": 2 * rpe["ratio"], "gamma": 8 * rpe["ratio"]},
            )
            found = table_shapes(value, value.sides[0], heads=heads, head_dim=width // heads)
            shapes |= {f"blocks.{b}.attn.rpe_{letter}.{name}": shape for name, shape in found.items()}
    for name, shape in layers.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(shape, generator=generator, dtype=torch.float64) * 0.4 + ("norm" in name and "weight" in name)
        for name, shape in shapes.items()
    }


@pytest.mark.parametrize("mode", ["contextual", "bias"])
@pytest.mark.parametrize("method", METHODS.values())
@pytest.mark.parametrize("shared", [True, False])
def test_there_and_back(method, mode, shared):
    value = ImageRelativePosition(method=method, mode=mode, shared=shared, on="qk")
    shapes = table_shapes(value, "query", heads=3, head_dim=4)
    theirs = {name: torch.randn(shape) for name, shape in shapes.items()}
    back = to_theirs(from_theirs(theirs, value, "query"), value, "query")
    assert set(back) == set(theirs) and all(torch.equal(back[name], table) for name, table in theirs.items())


def test_counts_are_those_of_the_published_code():
    counted = {model["name"]: (model["params"], model["macs"]) for model in models() if model["family"] == "deit_irpe"}
    assert counted == {
        "deit_tiny_patch16_224_ctx_product_50_shared_k": (5_755_816, 1_276_377_600),
        "deit_small_patch16_224_ctx_euc_20_shared_k": (22_113_640, 4_673_319_936),
        "deit_small_patch16_224_ctx_quant_51_shared_k": (22_153_576, 4_720_524_288),
        "deit_small_patch16_224_ctx_cross_56_shared_k": (22_176_616, 4_747_757_568),
        "deit_small_patch16_224_ctx_product_50_shared_k": (22_089_064, 4_644_271_104),
        "deit_small_patch16_224_ctx_product_50_shared_qk": (22_127_464, 4_689_659_904),
        "deit_small_patch16_224_ctx_product_50_shared_qkv": (22_165_864, 4_868_491_776),
        "deit_base_patch16_224_ctx_product_50_shared_k": (86_606_056, 17_654_605_824),
        "deit_base_patch16_224_ctx_product_50_shared_qkv": (86_682_856, 18_103_047_168),
    }
    assert cost(with_positions(deit_small_patch16_224(), None)) == cost(deit_small_patch16_224())
    assert (
        with_positions(deit_small_patch16_224(), position()).stages[0].block != deit_small_patch16_224().stages[0].block
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rpe_config": {"mode": "bias", "rpe_on": "v", "skip": 1}}, "joins queries and keys only"),
        ({"rpe_config": {"skip": 0, "rpe_on": "k"}}, "have no entry for them"),
        ({"rpe_config": {"method": "rank", "rpe_on": "k"}}, "method must be one of product, euc, quant, cross"),
        ({"rpe_config": {"rpe_on": "kk"}}, "the sides some of q, k, v"),
        ({"rpe_config": {"reach": 2, "rpe_on": "k"}}, "settings.*but got .*reach"),
        ({"norm_layer": "BatchNorm"}, "norm_layer must read"),
        ({"hybrid_backbone": 1}, "but got hybrid_backbone"),
        ({"num_heads": 5}, "num_heads must divide embed_dim, but got 5 and 48"),
        ({"rpe_config": None}, r"unknown: blocks\.0\.attn\.rpe_k\.lookup_table_weight"),
        ({"rpe_config": {"rpe_on": "k", "skip": 1, "ratio": 2}}, r"\(1, 16, 50\) instead of \(1, 16, 82\)"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_in_one_line(record, change, message):
    with pytest.raises(VitesseError, match=message) as caught:
        from_published("deit_irpe", record.state, {**config(record), **change})
    assert "\n" not in str(caught.value)


def test_one_encoding_says_what_it_misses(one):
    with pytest.raises(VitesseError, match="but got no width"):
        from_published("irpe", {}, {name: value for name, value in CASES[0].items() if name != "width"})
    with pytest.raises(VitesseError, match="missing: lookup_table_bias"):
        from_published("irpe", {}, CASES[0])
