from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from vitesse.arch import cost, parameters
from vitesse.errors import VitesseError
from vitesse.nets.taps import layers_of
from vitesse.weights.slice import lengths
from vitesse.zoo import from_published
from vitesse.zoo.swin_settings import AutoFormerV2Settings, MiniSwinSettings
from vitesse.zoo.swin_weights import published_name, their_shape

RECORDS = {"autoformerv2": "autoformerv2_A", "miniswin": "miniswin_A"}


def relative(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).abs().max() / expected.abs().max()).item()


@pytest.fixture(scope="module", params=RECORDS)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def record(golden, family):
    return golden(RECORDS[family])


@pytest.fixture(scope="module")
def network(record, family):
    return from_published(family, record.state, record.config)


def test_outputs_agree(record, network) -> None:
    assert not network.training
    with torch.no_grad():
        assert relative(network(record.tensors["input"]), record.tensors["output"]) < 1e-5


def test_outputs_agree_in_double(record, family) -> None:
    state = {name: t.double() if t.is_floating_point() else t for name, t in record.state.items()}
    with torch.no_grad():
        found = from_published(family, state, record.config)(record.tensors["input"].double())
    assert relative(found, record.tensors["output_f64"]) < 1e-12


def test_what_lies_between_agrees(record, network) -> None:
    with torch.no_grad():
        assert relative(network.stem(record.tensors["input"]), record.tensors["mid.patch_embed"]) < 1e-5
        last, found = network.forward_intermediates(record.tensors["input"], output_fmt="NLC")
        # What they call a stage ends in what leads into our next one.
        into = network.stages[1].down(found[0], network.arch.grids[0])
    assert relative(into, record.tensors["mid.layers.0"]) < 1e-5
    assert relative(found[1], record.tensors["mid.layers.1"]) < 1e-5
    assert relative(last, record.tensors["mid.norm"]) < 1e-5


def test_gradients_agree(record, network, family) -> None:
    images = record.tensors["input"].clone().requires_grad_()
    network.zero_grad()
    (network(images) * record.tensors["cotangent"]).sum().backward()
    assert relative(images.grad, record.tensors["grad.input"]) < 1e-4
    named = {
        published_name(name, network.arch, listed=family == "miniswin"): one for name, one in network.named_parameters()
    }
    assert named.keys() == record.facts["grad_l2"].keys()
    for name, expected in record.facts["grad_l2"].items():
        # The bias in front of a softmax has no effect but for rounding.
        assert named[name].grad.norm().item() == pytest.approx(expected, rel=1e-4, abs=1e-5), name


def test_counts_agree(record, network) -> None:
    assert cost(network.arch).params == record.facts["n_params"]


@pytest.mark.parametrize(
    ("family", "name", "digest"),
    [
        ("autoformerv2", "published_out_s3_t_A", "digest_s3_t"),
        ("miniswin", "published_out_mini_swin_tiny_A", "digest_mini_swin_tiny"),
    ],
)
def test_the_published_network_agrees_at_its_real_size(golden, recipe, family, name, digest) -> None:
    record, facts = golden(name), golden(digest).facts
    shapes = {key: shape for key, shape, _ in facts["state"]}
    state = {key: torch.zeros(shape) for key, shape in shapes.items()}  # tables and masks are not read
    state |= {
        key: torch.from_numpy(recipe.weights(key, shapes[key], *how)) for key, how in record.facts["recipe"].items()
    }
    network = from_published(family, state, facts["constructor"])
    assert cost(network.arch).params == facts["n_params"]
    with torch.no_grad():
        found = network(torch.from_numpy(recipe.images(record.facts["input_shape"], 2024)))
    assert relative(found, record.tensors["output"]) < 1e-5


def test_the_mask_of_the_published_mini_swin_is_kept(golden) -> None:
    """It masks blocks that are not shifted, too; plain masking gives something else."""
    record = golden("miniswin_A")
    network = from_published("miniswin", record.state, record.config)
    for module in network.modules():
        if hasattr(module, "value") and getattr(module.value, "always_masked", False):
            object.__setattr__(module.value, "always_masked", False)
    with torch.no_grad():
        found = network(record.tensors["input"])
    assert relative(found, record.tensors["output_if_mask_only_when_shifted"]) < 1e-5


def test_the_features_of_a_student_agree(golden) -> None:
    record = golden("miniswin_student_A")
    student = from_published("miniswin_student", record.state, record.config)
    images = record.tensors["input"]
    with torch.no_grad():
        logits, joint, hidden = student.features(images, [3, 1, 0])
        fitted = student.features(images, [3], fitted=True).hidden[0]
    assert relative(logits, record.tensors["output"]) < 1e-5 and torch.equal(student(images), logits)
    for i in range(3):
        for found, what in zip((*joint[i], hidden[i]), ("q", "k", "v", "hidden"), strict=True):
            assert relative(found, record.tensors[f"mid.selected.{i}.{what}"]) < 1e-5
    weight, bias = (record.state[f"fit_dense_C.1.{part}"] for part in ("weight", "bias"))
    assert relative(fitted, functional.linear(record.tensors["mid.selected.2.hidden"], weight, bias)) < 1e-5
    with pytest.raises(VitesseError, match="layers are 0 to 3"):
        student.features(images, [4])
    # The same is found by whoever looks at the modules alone.
    assert len(layers_of(student, images[:1])) == 4
    assert sum(weight.numel() for weight in student.parameters()) == record.facts["n_params"]


# Settings that no record covers: held against a plain reading of the published forward pass.
AUTOFORMERV2: list[dict[str, Any]] = [
    {"img_size": (32, 64)},
    {"window_size": [[12, 2], [3, 8]], "img_size": 48, "mlp_ratio": [[1.3, 3.0], [2.0, 0.5]]},
    {"qkv_bias": False, "qk_scale": 0.3, "patch_norm": False, "norm_layer": "LayerNorm(eps=1e-3)"},
    {"depths": [1, 2], "in_chans": 1, "num_classes": 3, "patch_size": 8, "img_size": 64},
    {"num_classes": 0},
]
MINISWIN: list[dict[str, Any]] = [
    {"depths": [4, 3], "separate_layer_num_list": [2, 3]},
    {"depths": [6, 5], "separate_layer_num_list": [2, 2]},  # groups of three, and one block that is dropped
    {"is_sep_layernorm": False},
    {"is_transform_FFN": False, "ape": True},
    {"is_transform_heads": False, "qkv_bias": False, "qk_scale": 0.5},
    {"img_size": (32, 64), "window_size": 4, "patch_norm": False, "in_chans": 2},
]


@pytest.mark.parametrize("change", AUTOFORMERV2, ids=str)
def test_other_settings_of_s3_agree_with_a_plain_reading(golden, change) -> None:
    check("autoformerv2", {**golden("autoformerv2_A").config, **change}, AutoFormerV2Settings)


@pytest.mark.parametrize("change", MINISWIN, ids=str)
def test_other_settings_of_mini_swin_agree_with_a_plain_reading(golden, change) -> None:
    check("miniswin", {**golden("miniswin_A").config, **change}, MiniSwinSettings)


def check(family: str, config: dict[str, Any], settings: type) -> None:
    read = settings.read(config)
    arch, name_of = read.arch(), partial(published_name, listed=getattr(read, "is_sep_layernorm", False))
    generator, state = torch.Generator().manual_seed(0), {}
    for name, shape in parameters(arch).items():
        noise = torch.randn(lengths(shape), generator=generator, dtype=torch.float64)
        theirs = their_shape(name, lengths(shape))
        near_one = "norm" in name and name.endswith("weight")
        state[name_of(name, arch)] = (1 + 0.2 * noise if near_one else 0.3 * noise).reshape(theirs)
    images = torch.randn(2, arch.stem.channels, *arch.stem.image, generator=generator).double()
    with torch.no_grad():
        found = from_published(family, state, config)(images)
        assert relative(found, plain(images, state, config, read)) < 1e-9


def plain(images: Tensor, state: dict[str, Tensor], config: dict[str, Any], read: Any) -> Tensor:
    """The published forward passes as the facts have them, image by image, window by window and head by head."""
    eps = 1e-3 if "1e-3" in read.norm_layer else 1e-5

    def norm(x: Tensor, name: str) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps)

    def linear(x: Tensor, name: str) -> Tensor:
        return functional.linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))

    patch = state["patch_embed.proj.weight"].shape[-1]
    x = functional.conv2d(images, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=patch)
    x = x.permute(0, 2, 3, 1)  # (B, rows, columns, C)
    x = norm(x, "patch_embed.norm") if read.patch_norm else x
    x = x + state["absolute_pos_embed"].view(x.shape[1:]) if read.ape else x
    mini = isinstance(read, MiniSwinSettings)
    for s, depth in enumerate(read.depths):
        groups = read.separate_layer_num_list[s] if mini else depth
        each = depth // groups
        for layer in range(each * groups):
            name, r = f"layers.{s}.blocks.{layer // each}.", layer % each
            listed = mini and read.is_sep_layernorm
            norms = [f"{name}norm{n}_list.{r}" if listed else f"{name}norm{n}" for n in (1, 2)]
            heads = read.num_heads[s] if mini else read.num_heads[s][layer]
            window = read.window_size if mini else read.window_size[s][layer]
            mixes = [f"{name}proj_{side}.{r}" for side in "lw"] if mini and read.is_transform_heads else None
            args = (name + "attn", heads, window, layer % 2 == 1, mini, mixes)
            x = x + attention(norm(x, norms[0]), *args, linear, state, read.qk_scale)
            if mini and read.is_transform_FFN:
                x = norm(x, f"{name}local_norm_list.{r}")
                weight, bias = (state.get(f"{name}local_conv_list.{r}.{part}") for part in ("weight", "bias"))
                conv = functional.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=3, groups=x.shape[-1])
                x = x + conv.permute(0, 2, 3, 1)
            x = x + linear(functional.gelu(linear(norm(x, norms[1]), name + "mlp.fc1")), name + "mlp.fc2")
        if s < len(read.depths) - 1:
            parts = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
            x = linear(norm(torch.cat(parts, -1), f"layers.{s}.downsample.norm"), f"layers.{s}.downsample.reduction")
    x = norm(x, "norm").mean((1, 2))
    return linear(x, "head") if read.num_classes else x


def attention(x, name, heads, window, odd, always, mixes, linear, state, scale):
    _, rows, columns, width = x.shape
    step = window // 2
    if min(rows, columns) <= window:
        window, step = min(rows, columns), 0
    table = state[f"{name}.relative_position_bias_table"]
    moved = torch.roll(x, (-step, -step), (1, 2)) if odd else x
    out = torch.zeros_like(x)

    def region(place: int, length: int) -> int:
        return 0 if not step or place < length - window else 1 if place < length - step else 2

    for top in range(0, rows, window):
        for left in range(0, columns, window):
            places = [(i, j) for i in range(window) for j in range(window)]
            part = moved[:, top : top + window, left : left + window].flatten(1, 2)
            q, k, v = linear(part, f"{name}.qkv").unflatten(-1, (3, heads, width // heads)).permute(2, 0, 3, 1, 4)
            index = [
                [(a - c + window - 1) * (2 * window - 1) + b - d + window - 1 for c, d in places] for a, b in places
            ]
            scores = q @ k.transpose(-1, -2) * (scale or (width // heads) ** -0.5)
            scores = scores + table[torch.tensor(index)].permute(2, 0, 1)
            if mixes:
                scores = linear(scores.permute(0, 2, 3, 1), mixes[0]).permute(0, 3, 1, 2)
            if odd or always:
                labels = [(region(top + i, rows), region(left + j, columns)) for i, j in places]
                scores = scores - 100.0 * torch.tensor([[one != other for other in labels] for one in labels])
            weights = scores.softmax(-1)
            if mixes:
                weights = linear(weights.permute(0, 2, 3, 1), mixes[1]).permute(0, 3, 1, 2)
            done = linear((weights @ v).transpose(1, 2).flatten(2), f"{name}.proj")
            out[:, top : top + window, left : left + window] = done.unflatten(1, (window, window))
    return torch.roll(out, (step, step), (1, 2)) if odd else out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_heads": [[1, 1], [1, 2]]}, "32 wide"),
        ({"depths": [2]}, "for each of the depths"),
        ({"window_size": [4, 4]}, "one value for each block"),
        ({"mlp_ratio": [[2.0], [2.0]]}, "one value for each block"),
        ({"ape": True}, "absolute positions"),
        ({"stem": "conv"}, "no stem"),
        ({"img_size": 30}, "multiple of the patch"),
    ],
)
def test_settings_of_s3_that_cannot_be_are_refused(golden, change, message) -> None:
    record = golden("autoformerv2_A")
    with pytest.raises(VitesseError, match=message):
        from_published("autoformerv2", record.state, {**record.config, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_heads": [5, 4]}, "divide the width"),
        ({"separate_layer_num_list": [3, 1]}, "1 to 2 groups"),
        ({"window_size": 8}, "must fit each map"),
    ],
)
def test_settings_of_mini_swin_that_cannot_be_are_refused(golden, change, message) -> None:
    record = golden("miniswin_A")
    with pytest.raises(VitesseError, match=message):
        from_published("miniswin", record.state, {**record.config, **change})


def test_what_does_not_fit_is_named(record, family) -> None:
    state = record.state
    del state["norm.weight"]
    state["mystery"] = torch.zeros(1)
    with pytest.raises(VitesseError, match=r"missing: norm\.weight; unknown: mystery"):
        from_published(family, state, record.config)
