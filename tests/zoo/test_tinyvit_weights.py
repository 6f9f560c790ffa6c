from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from vitesse.arch import cost
from vitesse.errors import VitesseError
from vitesse.zoo import from_published
from vitesse.zoo.tinyvit_settings import TinyViTSettings
from vitesse.zoo.tinyvit_weights import published_name


@pytest.fixture(scope="module")
def record(golden):
    return golden("tinyvit_A")


@pytest.fixture(scope="module")
def network(record):
    return from_published("tinyvit", record.state, record.config)


def relative(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).abs().max() / expected.abs().max()).item()


def test_outputs_agree(record, network) -> None:
    assert not network.training
    with torch.no_grad():
        assert relative(network(record.tensors["input"]), record.tensors["output"]) < 1e-5


def test_outputs_agree_in_double(record) -> None:
    state = {name: t.double() if t.is_floating_point() else t for name, t in record.state.items()}
    with torch.no_grad():
        found = from_published("tinyvit", state, record.config)(record.tensors["input"].double())
    assert relative(found, record.tensors["output_f64"]) < 1e-12


def test_what_lies_between_agrees(record, network) -> None:
    images = record.tensors["input"]
    with torch.no_grad():
        stem = network.stem(images)  # (B, N, C)
        assert relative(stem.transpose(1, 2), record.tensors["mid.patch_embed"].flatten(2)) < 1e-5
        found = network.forward_intermediates(images, output_fmt="NLC", intermediates_only=True)
        assert relative(found[3], record.tensors["mid.layers.3"]) < 1e-5
        # What they call a stage ends in what leads into our next one.
        for s in range(3):
            grid = network.arch.grids[s]
            into = network.stages[s + 1].down(found[s], grid)
            assert relative(into, record.tensors[f"mid.layers.{s}"]) < 1e-5
        pooled = network.forward_head(found[3], pre_logits=True)
    assert relative(pooled, record.tensors["mid.norm_head"]) < 1e-5


def test_gradients_agree(record, network) -> None:
    images = record.tensors["input"].clone().requires_grad_()
    network.zero_grad()
    (network(images) * record.tensors["cotangent"]).sum().backward()
    assert images.grad is not None
    assert relative(images.grad[:, :, 8:24, 8:24], record.tensors["grad.input_crop"]) < 1e-4
    assert record.facts["grad_l2"].keys() == {published_name(name) for name, _ in network.named_parameters()}
    for name, parameter in network.named_parameters():
        expected = record.facts["grad_l2"][published_name(name)]
        assert parameter.grad.norm().item() == pytest.approx(expected, rel=1e-4), name


def test_counts_agree(record, network) -> None:
    assert cost(network.arch).params == record.facts["n_params"]


def test_the_published_network_agrees_at_its_real_size(golden, recipe) -> None:
    record, digest = golden("published_out_tiny_vit_5m_224_A"), golden("digest_tiny_vit_5m_224")
    state = record.state | {
        key: torch.zeros(()) for key, _, _ in digest.facts["state"] if key.endswith("num_batches_tracked")
    }
    shapes = {key: shape for key, shape, _ in digest.facts["state"]}
    for key, how in record.facts["recipe"].items():
        state[key] = torch.from_numpy(recipe.weights(key, shapes[key], *how))
    assert state.keys() == shapes.keys()
    network = from_published("tinyvit", state, digest.config)
    with torch.no_grad():
        found = network(torch.from_numpy(recipe.images(record.facts["input_shape"], 2024)))
    assert relative(found, record.tensors["output"]) < 1e-5


# Settings that no record covers: held against a plain reading of the published forward pass.
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"img_size": 72},  # windows that do not divide the map
        {"img_size": 40, "window_sizes": [4, 7, 3, 5]},  # windows larger than the map
        {
            "depths": [2, 1, 1, 2],
            "window_sizes": [1, 2, 4, 2],
            "embed_dims": [12, 16, 20, 24],
            "num_heads": [3, 4, 1, 6],
        },
        {"local_conv_size": 5, "mlp_ratio": 1.7, "mbconv_expand_ratio": 3.0},
        {"in_chans": 1, "num_classes": 3},
        {"num_classes": 0},
        {"activation": "nn.ReLU"},
    ],
    ids=str,
)
def test_other_settings_agree_with_a_plain_reading(record, change) -> None:
    config = {**record.config, **change}
    state = random_state(config)
    images = torch.randn(2, config["in_chans"], config["img_size"], config["img_size"]).double()
    with torch.no_grad():
        found = from_published("tinyvit", state, config)(images)
        assert relative(found, plain(images, state, config)) < 1e-9


def test_old_files_and_files_without_counters_are_read(record, network) -> None:
    state = {name: t for name, t in record.state.items() if not name.endswith("num_batches_tracked")}
    state["layers.1.blocks.0.attn.attention_bias_idxs"] = torch.zeros(16, 16, dtype=torch.long)
    with torch.no_grad():
        found = from_published("tinyvit", state, record.config)(record.tensors["input"])
        assert torch.equal(found, network(record.tensors["input"]))


def test_weights_loaded_after_evaluation_are_seen(record, network) -> None:
    """The published module keeps the gathered biases of before."""
    other = from_published("tinyvit", record.state, record.config)
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            if name.endswith("offset_bias"):
                parameter.zero_()
        assert not torch.allclose(other(record.tensors["input"]), network(record.tensors["input"]))
        other.load_state_dict(network.state_dict())
        assert torch.equal(other(record.tensors["input"]), network(record.tensors["input"]))


def test_what_does_not_fit_is_named(record) -> None:
    state = record.state
    del state["norm_head.weight"]
    state["mystery"] = torch.zeros(1)
    with pytest.raises(VitesseError, match=r"missing: norm_head\.weight; unknown: mystery"):
        from_published("tinyvit", state, record.config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depths": [1, 2]}, "for each stage"),
        ({"num_heads": [1, 5, 2, 3]}, "divide the width"),
        ({"stem": "conv"}, "no setting stem"),
        ({"activation": "nn.Tanh"}, "activation must be one of"),
        ({"local_conv_size": 4}, "odd"),
    ],
)
def test_settings_that_cannot_be_are_refused(record, change, message) -> None:
    with pytest.raises(VitesseError, match=message):
        from_published("tinyvit", record.state, {**record.config, **change})


def random_state(config) -> dict[str, Tensor]:
    from vitesse.arch import buffers, parameters
    from vitesse.weights.slice import lengths

    arch = TinyViTSettings.read(config).arch()
    generator, state = torch.Generator().manual_seed(0), {}
    for name, shape in (parameters(arch) | buffers(arch)).items():
        noise = torch.randn(lengths(shape), generator=generator, dtype=torch.float64)
        near_one = name.endswith(("running_var", "norm.weight"))
        state[published_name(name)] = 1 + 0.2 * noise.clamp(-2, 2) if near_one else 0.3 * noise
        if name.endswith("num_batches_tracked"):
            state[published_name(name)] = torch.tensor(1)
    return state


def plain(images, state, config):
    """The published forward pass as the facts have it, window by window and head by head."""
    act = functional.relu if config["activation"] == "nn.ReLU" else functional.gelu

    def conv(x, name, stride=1, groups=1):
        weight = state[f"{name}.c.weight"]
        x = functional.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2, groups=groups)
        norm = [state[f"{name}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return functional.batch_norm(x, *norm)

    def norm(x, name):
        return functional.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-5)

    def linear(x, name):
        return functional.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    x = conv(act(conv(images, "patch_embed.seq.0", 2)), "patch_embed.seq.2", 2)
    for s, depth in enumerate(config["depths"]):
        for b in range(depth):
            name = f"layers.{s}.blocks.{b}."
            if s == 0:
                y = act(conv(x, name + "conv1"))
                y = conv(act(conv(y, name + "conv2", groups=y.shape[1])), name + "conv3")
                x = act(x + y)
                continue
            x = x + attention(x, name + "attn", config["num_heads"][s], config["window_sizes"][s], norm, linear, state)
            x = conv(x, name + "local_conv", groups=x.shape[1])
            y = x.permute(0, 2, 3, 1)
            y = y + linear(act(linear(norm(y, name + "mlp.norm"), name + "mlp.fc1")), name + "mlp.fc2")
            x = y.permute(0, 3, 1, 2)
        if s < 3:
            name = f"layers.{s}.downsample.conv"
            y = act(conv(x, name + "1"))
            x = conv(act(conv(y, name + "2", 2, y.shape[1])), name + "3")
    x = norm(x.flatten(2).mean(2), "norm_head")
    return linear(x, "head") if config["num_classes"] else x


def attention(x, name, heads, window, norm, linear, state):
    batch, width, rows, columns = x.shape
    down, right = -rows % window, -columns % window
    x = functional.pad(x, (0, right, 0, down))
    out = torch.zeros_like(x)
    place = torch.arange(window * window)
    apart = [(p[:, None] - p[None]).abs() for p in (place // window, place % window)]
    bias = state[f"{name}.attention_biases"][:, apart[0] * window + apart[1]]
    for top in range(0, rows + down, window):
        for left in range(0, columns + right, window):
            part = x[:, :, top : top + window, left : left + window].flatten(2).transpose(1, 2)
            joint = linear(norm(part, f"{name}.norm"), f"{name}.qkv").view(batch, -1, heads, 3 * width // heads)
            done = []
            for h in range(heads):
                q, k, v = joint[:, :, h].chunk(3, -1)
                scores = q @ k.transpose(1, 2) * (width // heads) ** -0.5 + bias[h]
                done.append(scores.softmax(-1) @ v)
            part = linear(torch.cat(done, -1), f"{name}.proj").transpose(1, 2)
            out[:, :, top : top + window, left : left + window] = part.unflatten(2, (window, window))
    return out[:, :, :rows, :columns]
