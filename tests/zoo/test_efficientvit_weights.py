from __future__ import annotations

from collections import defaultdict

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from vitesse.arch import cost
from vitesse.errors import VitesseError
from vitesse.zoo import from_published
from vitesse.zoo.efficientvit_settings import EfficientViTSettings
from vitesse.zoo.efficientvit_weights import published_name, their_shapes, to_theirs


@pytest.fixture(scope="module")
def record(golden):
    return golden("efficientvit_A")


@pytest.fixture(scope="module")
def network(record):
    return from_published("efficientvit", record.state, record.config)


@pytest.fixture(scope="module")
def folded(record):
    lead = "fused.state."
    return {key.removeprefix(lead): t for key, t in record.tensors.items() if key.startswith(lead)}


def relative(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).abs().max() / expected.abs().max()).item()


def test_outputs_agree(record, network) -> None:
    assert not network.training
    with torch.no_grad():
        assert relative(network(record.tensors["input"]), record.tensors["output"]) < 1e-5


def test_outputs_agree_in_double(record) -> None:
    state = {name: t.double() if t.is_floating_point() else t for name, t in record.state.items()}
    with torch.no_grad():
        found = from_published("efficientvit", state, record.config)(record.tensors["input"].double())
    assert relative(found, record.tensors["output_f64"]) < 1e-12


def test_folded_weights_agree_and_still_learn(record, folded) -> None:
    network = from_published("efficientvit", folded, record.config)
    with torch.no_grad():
        assert relative(network(record.tensors["input"]), record.tensors["fused.output"]) < 1e-5
    network.train()(record.tensors["input"]).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_what_lies_between_agrees(record, network) -> None:
    images, expected = record.tensors["input"], record.tensors
    with torch.no_grad():
        assert relative(network.stem(images).transpose(1, 2), expected["mid.patch_embed"].flatten(2)) < 1e-5
        for s, found in enumerate(network.forward_intermediates(images, intermediates_only=True), 1):
            assert relative(found, expected[f"mid.blocks{s}"]) < 1e-5
        x, grid = network.stem(images), network.arch.grids[0]
        for branch in network.stages[0].blocks[0][:3]:
            x = branch(x, grid)
    assert relative(x.transpose(1, 2), expected["mid.blocks1.0.mixer"].flatten(2)) < 1e-5


def test_gradients_agree(record, network) -> None:
    images = record.tensors["input"].clone().requires_grad_()
    network.zero_grad()
    (network(images) * record.tensors["cotangent"]).sum().backward()
    assert images.grad is not None
    assert relative(images.grad[:, :, 8:24, 8:24], record.tensors["grad.input_crop"]) < 1e-4
    squares: dict[str, float] = defaultdict(float)
    for name, parameter in network.named_parameters():
        squares[published_name(name)] += parameter.grad.square().sum().item()
    assert squares.keys() == record.facts["grad_l2"].keys()
    for name, expected in record.facts["grad_l2"].items():
        assert squares[name] ** 0.5 == pytest.approx(expected, rel=1e-4), name


def test_counts_agree(record, network) -> None:
    assert cost(network.arch).params == record.facts["n_params"]


def test_weights_go_back(record, network) -> None:
    theirs = to_theirs(network.state_dict(), published_name)
    derived = {name for name in record.state if name.endswith("idxs")}
    assert theirs.keys() | derived == record.state.keys() and len(derived) == 4
    assert all(torch.equal(tensor, record.state[name]) for name, tensor in theirs.items())


def test_the_published_network_agrees_at_its_real_size(golden, recipe) -> None:
    record, digest = golden("published_out_EfficientViT_M0_A"), golden("digest_efficientvit_m0")
    shapes = {key: shape for key, shape, _ in digest.facts["state"]}
    left_out = ("num_batches_tracked", "attention_bias_idxs")
    state = record.state | {key: torch.zeros(shape) for key, shape in shapes.items() if key.endswith(left_out)}
    for key, how in record.facts["recipe"].items():
        state[key] = torch.from_numpy(recipe.weights(key, shapes[key], *how))
    assert state.keys() == shapes.keys()
    network = from_published("efficientvit", state, digest.config)
    with torch.no_grad():
        found = network(torch.from_numpy(recipe.images(record.facts["input_shape"], 2024)))
    assert relative(found, record.tensors["output"]) < 1e-5


# Settings that no record covers: held against a plain reading of the published forward pass.
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"img_size": 160},  # windows of 3 that do not divide the map of 10
        {"img_size": 64, "window_size": [7, 7, 7]},  # maps of 4, 2 and 1 within a window
        {"embed_dim": [10, 12, 14], "num_heads": [1, 4, 2], "kernels": [7, 1, 3, 5], "key_dim": [3, 5, 2]},
        {"depth": [2, 1, 1], "in_chans": 1, "num_classes": 3},
        {"embed_dim": [16, 24], "depth": [1, 2], "num_heads": [2, 2], "key_dim": [4, 4], "window_size": [3, 3]},
        {"num_classes": 0},
        {"distillation": True},
    ],
    ids=str,
)
def test_other_settings_agree_with_a_plain_reading(record, change) -> None:
    config = {**record.config, **change}
    state = random_state(config)
    images = torch.randn(2, config["in_chans"], config["img_size"], config["img_size"]).double()
    with torch.no_grad():
        found = from_published("efficientvit", state, config)(images)
        assert relative(found, plain(images, state, config)[1]) < 1e-9


@pytest.mark.parametrize("size", [(96, 96), (80, 144), (41, 200), (33, 40)], ids=str)
def test_a_detectors_backbone_gives_maps_of_any_size(record, size) -> None:
    """Its windows are no smaller than the map that a classifier saw, so the tables of the last stage are interpolated."""
    classifier = {**record.config, "window_size": [3, 3, 3]}
    state = random_state(classifier)
    backbone = {name: one for name, one in classifier.items() if name != "num_classes"} | {"frozen_stages": -1}
    network = from_published("efficientvit", state, backbone)
    assert [stage.blocks[0].branches[2].window for stage in network.arch.stages] == [3, 3, 3]
    for name, table in state.items():
        if name.endswith("attention_biases") and table.shape[1] == 4:
            grid = table.float().view(1, -1, 2, 2)
            grown = functional.interpolate(grid, size=(3, 3), mode="bicubic", align_corners=False)
            state[name] = grown[0].flatten(1).double()
    images = torch.randn(1, 3, *size).double()
    with torch.no_grad():
        found = network.forward_intermediates(images, intermediates_only=True)
        expected = plain(images, state, backbone)[0]
    assert [one.shape for one in found] == [one.shape for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert relative(one, other) < 1e-9


def test_matrices_stand_for_convolutions(record, network) -> None:
    state = {name: t[:, :, 0, 0] if t.shape[2:] == (1, 1) else t for name, t in record.state.items()}
    images = record.tensors["input"]
    with torch.no_grad():
        assert torch.equal(from_published("efficientvit", state, record.config)(images), network(images))


def test_files_without_counters_are_read(record, network) -> None:
    state = {name: t for name, t in record.state.items() if not name.endswith(("num_batches_tracked", "idxs"))}
    with torch.no_grad():
        found = from_published("efficientvit", state, record.config)(record.tensors["input"])
        assert torch.equal(found, network(record.tensors["input"]))


def test_what_does_not_fit_is_named(record) -> None:
    state = record.state
    del state["head.bn.weight"]
    state["mystery"] = torch.zeros(1)
    with pytest.raises(VitesseError, match=r"missing: head\.bn\.weight; unknown: mystery"):
        from_published("efficientvit", state, record.config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": [1, 2]}, "for each stage"),
        ({"num_heads": [3, 3, 2]}, "no multiple of 3"),
        ({"kernels": [4, 3, 3]}, "odd integer"),
        ({"kernels": [3, 3]}, "a kernel for each head"),
        ({"patch_size": 8}, "patches of 16"),
        ({"down_ops": [["subsample", 4], ["subsample", 2], [""]]}, "between its stages"),
        ({"drop_path_rate": 0.1}, "no setting drop_path_rate"),
    ],
)
def test_settings_that_cannot_be_are_refused(record, change, message) -> None:
    with pytest.raises(VitesseError, match=message):
        from_published("efficientvit", record.state, {**record.config, **change})


def random_state(config) -> dict[str, Tensor]:
    from vitesse.arch import tensors
    from vitesse.weights.slice import lengths

    shapes = {name: lengths(shape) for name, shape in tensors(EfficientViTSettings.read(config).arch()).items()}
    generator, state = torch.Generator().manual_seed(0), {}
    for name, shape in their_shapes(shapes, published_name).items():
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        near_one = name.endswith(("running_var", "bn.weight"))
        state[name] = 1 + 0.2 * noise.clamp(-2, 2) if near_one else 0.3 * noise
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(1)
    return state


def plain(images, state, config):
    """The maps of the stages and the logits of the published forward pass as the facts have it, window by window."""

    def conv(x, name, stride=1, depthwise=False):
        weight = state[f"{name}.c.weight"]
        groups = x.shape[1] if depthwise else 1
        x = functional.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2, groups=groups)
        return norm(x, f"{name}.bn")

    def norm(x, name):
        parts = ("running_mean", "running_var", "weight", "bias")
        return functional.batch_norm(x, *[state[f"{name}.{part}"] for part in parts])

    def pointwise(x, name):
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        return functional.conv2d(x, weight, bias)

    def half(x, local, mlp):
        x = x + conv(x, local, depthwise=True)
        return x + conv(conv(x, f"{mlp}.pw1").relu(), f"{mlp}.pw2")

    def merge(x, name):
        x = conv(x, f"{name}.conv1").relu()
        x = conv(x, f"{name}.conv2", 2, depthwise=True).relu()
        gate = pointwise(x.mean((2, 3), keepdim=True), f"{name}.se.fc1").relu()
        return conv(x * pointwise(gate, f"{name}.se.fc2").sigmoid(), f"{name}.conv3")

    x, maps = images, []
    for i in range(4):
        x = conv(x if i == 0 else x.relu(), f"patch_embed.{2 * i}", 2)
    for s, depth in enumerate(config["depth"]):
        lead = f"blocks{s + 1}."
        if s:
            x = half(x, f"{lead}0.0.m", f"{lead}0.1.m")
            x = merge(x, f"{lead}1")
            x = half(x, f"{lead}2.0.m", f"{lead}2.1.m")
        for b in range(depth):
            name = f"{lead}{b + (3 if s else 0)}."
            x = half(x, f"{name}dw0.m", f"{name}ffn0.m")
            x = x + windowed(x, f"{name}mixer.m.attn", config["num_heads"][s], conv, state)
            x = half(x, f"{name}dw1.m", f"{name}ffn1.m")
        maps.append(x)
    mean = x.mean((2, 3))
    heads = ["head"] + (["head_dist"] if config.get("distillation") else [])
    if "head.l.weight" not in state or "frozen_stages" in config:
        return maps, mean
    both = [functional.linear(norm(mean, f"{h}.bn"), state[f"{h}.l.weight"], state[f"{h}.l.bias"]) for h in heads]
    return maps, sum(both) / len(both)


def windowed(x, name, heads, conv, state):
    side = round(state[f"{name}.attention_biases"].shape[1] ** 0.5)
    rows, columns = x.shape[2:]
    if rows <= side and columns <= side:
        return cascade(x, name, heads, side, conv, state)
    down, right = -rows % side, -columns % side
    x = functional.pad(x, (0, right, 0, down))
    out = torch.zeros_like(x)
    for top in range(0, rows + down, side):
        for left in range(0, columns + right, side):
            place = (..., slice(top, top + side), slice(left, left + side))
            out[place] = cascade(x[place], name, heads, side, conv, state)
    return out[:, :, :rows, :columns]


def cascade(x, name, heads, side, conv, state):
    rows, columns = x.shape[2:]
    row, column = torch.arange(rows * columns) // columns, torch.arange(rows * columns) % columns
    places = (row[:, None] - row).abs() * side + (column[:, None] - column).abs()
    before, found = 0, []
    for i, part in enumerate(x.chunk(heads, 1)):
        joint = conv(part + before, f"{name}.qkvs.{i}")
        key_dim = state[f"{name}.dws.{i}.c.weight"].shape[0]
        q, k, v = joint.split([key_dim, key_dim, part.shape[1]], 1)
        q = conv(q, f"{name}.dws.{i}", depthwise=True)
        scores = q.flatten(2).transpose(1, 2) @ k.flatten(2) * key_dim**-0.5
        weights = (scores + state[f"{name}.attention_biases"][i][places]).softmax(-1)
        before = (v.flatten(2) @ weights.transpose(1, 2)).view_as(part)
        found.append(before)
    return conv(torch.cat(found, 1).relu(), f"{name}.proj.1")
