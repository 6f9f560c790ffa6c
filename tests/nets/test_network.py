"""The network keeps timm's contract, so that timm's tools work on it, and runs in other precisions."""

from __future__ import annotations

import copy

import pytest
import torch
from timm.optim import create_optimizer_v2
from timm.optim._param_groups import param_groups_layer_decay
from torch import Tensor, nn

from vitesse.arch import MLP, Backbone, Block, Head, PatchEmbed, Stage
from vitesse.nets import Network, build


def test_forward_is_features_and_head(network: Network, images: Tensor) -> None:
    features = network.forward_features(images)
    assert features.shape == (4, 2 + 2 * 6, 16) and network.num_prefix_tokens == 2
    assert torch.equal(network(images), network.forward_head(features))
    pooled = network.forward_head(features, pre_logits=True)
    assert pooled.shape == (4, network.num_features) and torch.equal(network.get_classifier()(pooled), network(images))


def test_intermediates_are_what_lies_between(network: Network, images: Tensor) -> None:
    last, found = network.forward_intermediates(images)
    assert torch.equal(last, network.forward_features(images)) and len(found) == 3
    x, grid = network.stem(images), network.stem.grid(images)
    for block, feature in zip(network.stages[0].blocks, found, strict=True):  # type: ignore[arg-type]
        for branch in block:  # type: ignore[attr-defined]
            x = branch(x, grid)
        # Patches in reading order: (B, embed, rows, columns).
        assert feature.shape == (4, 16, 2, 6)
        assert torch.equal(feature[:, :, 1, 2], x[:, 2 + 1 * 6 + 2])


@pytest.mark.parametrize(
    ("indices", "places"), [(None, [0, 1, 2]), (2, [1, 2]), ([0, 2], [0, 2]), ([-1], [2]), ((1,), [1])]
)
def test_which_intermediates(
    network: Network, images: Tensor, indices: int | list[int] | None, places: list[int]
) -> None:
    everything = network.forward_intermediates(images, intermediates_only=True)
    some = network.forward_intermediates(images, indices, intermediates_only=True)
    assert len(some) == len(places)
    assert all(torch.equal(one, everything[place]) for one, place in zip(some, places, strict=True))
    early = network.forward_intermediates(images, indices, intermediates_only=True, stop_early=True)
    assert all(torch.equal(one, other) for one, other in zip(some, early, strict=True))


def test_forms_of_intermediates(network: Network, images: Tensor) -> None:
    plain = network.forward_intermediates(images, 1, intermediates_only=True)[0]
    ((patches, prefix),) = network.forward_intermediates(
        images, 1, return_prefix_tokens=True, norm=True, output_fmt="NLC", intermediates_only=True
    )
    whole = torch.cat([prefix, patches], 1)
    assert torch.equal(whole, network.forward_features(images))
    flat = network.forward_intermediates(images, 1, output_fmt="NLC", intermediates_only=True)[0]
    assert torch.equal(plain.flatten(2).transpose(1, 2), flat)
    with pytest.raises(ValueError, match="output_fmt must be"):
        network.forward_intermediates(images, output_fmt="NHWC")
    with pytest.raises(IndexError):
        network.forward_intermediates(images, [3])


def test_feature_info_says_where_and_how_wide(network: Network, images: Tensor) -> None:
    modules = dict(network.named_modules())
    features = network.forward_intermediates(images, intermediates_only=True)
    assert len(network.feature_info) == len(features)
    for info, feature in zip(network.feature_info, features, strict=True):
        assert info["module"] in modules and info["num_chs"] == feature.shape[1]
    assert network.feature_info[0]["reduction"] == 8


def test_reset_classifier(network: Network, images: Tensor) -> None:
    network.double()
    network.class_names = ("a", "b", "c", "d", "e")
    features = network.forward_features(images.double())
    network.reset_classifier(7, "avg")
    assert network(images.double()).shape == (4, 7)
    assert network.num_classes == network.arch.head.classes == network.default_cfg["num_classes"] == 7
    assert network.arch.head.pool == "mean" and not network.class_names  # the old names fit no longer
    assert torch.equal(network.forward_features(images.double()), features)  # with the norm that it had
    assert {p.dtype for p in network.parameters()} == {torch.float64}
    assert set(network.state_dict()) == set(build(network.arch).state_dict())
    network.reset_classifier(0)
    assert network(images.double()).shape == (4, 16) and isinstance(network.get_classifier(), nn.Identity)
    with pytest.raises(ValueError, match="global_pool must be"):
        network.reset_classifier(3, "max")


def test_reset_classifier_refuses_a_pool_without_its_token() -> None:
    stem = PatchEmbed(image=(8, 8), patch=(8, 8), tokens=())
    network = build(Backbone(stem=stem, stages=(Stage(dim=8, depth=1, block=Block(MLP())),), head=Head(pool="mean")))
    with pytest.raises(ValueError, match="reads the first tokens"):
        network.reset_classifier(3, "token")
    assert network.num_classes == network.arch.head.classes == 1000  # nothing was changed by half


def test_grad_checkpointing_changes_no_gradient(network: Network, images: Tensor) -> None:
    network.train()
    network.double()
    gradients = []
    for enable in (False, True):
        network.set_grad_checkpointing(enable)
        network.zero_grad()
        network(images.double()).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) == len(list(network.parameters()))
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed, rtol=0, atol=1e-10)


def test_grad_checkpointing_replays_stochastic_depth(arch: Backbone, images: Tensor) -> None:
    network = build(arch, drop_path=0.5).train()
    gradients = []
    for enable in (False, True):
        network.set_grad_checkpointing(enable)
        network.zero_grad()
        torch.manual_seed(5)
        network(images).square().sum().backward()
        gradients.append(network.stem.proj.weight.grad.clone())  # type: ignore[union-attr]
    torch.testing.assert_close(*gradients)


def test_decay_spares_tokens_positions_norms_and_biases(network: Network) -> None:
    names = dict(network.named_parameters())
    assert network.no_weight_decay() <= set(names)
    groups = create_optimizer_v2(network, opt="adamw", lr=0.1, weight_decay=0.05).param_groups
    decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    for name, parameter in names.items():
        matrix = parameter.ndim > 1 and name not in network.no_weight_decay()
        assert (id(parameter) in decayed) == matrix, name


def test_layers_by_depth(network: Network) -> None:
    """timm's layer-wise learning rates: stem, three blocks, the last norm with the last block, the classifier."""
    named = {id(parameter): name for name, parameter in network.named_parameters()}
    groups = param_groups_layer_decay(network, weight_decay=0.05, layer_decay=0.5)
    scale = {named[id(p)]: group["lr_scale"] for group in groups for p in group["params"]}
    assert set(scale) == set(named.values())
    assert scale["head.classifier.weight"] == 1.0
    blocks = [scale[f"stages.0.blocks.{b}.0.op.qkv.weight"] for b in range(3)]
    assert blocks[2] / blocks[1] == blocks[1] / blocks[0] == blocks[0] / scale["stem.proj.weight"] == 2.0
    assert scale["stem.position"] == scale["stem.tokens"] == scale["stem.proj.bias"]
    optimizer = create_optimizer_v2(network, opt="adamw", lr=0.1, weight_decay=0.05, layer_decay=0.5)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(named)


def test_what_timms_tools_ask(network: Network) -> None:
    cfg, modules = network.default_cfg, dict(network.named_modules())
    assert cfg["input_size"] == (3, 16, 24) and cfg["num_classes"] == 5 and len(cfg["mean"]) == 3
    assert isinstance(modules[cfg["first_conv"]], nn.Conv2d) and modules[cfg["classifier"]] is network.get_classifier()


def test_bfloat16_stays_near(network: Network, images: Tensor) -> None:
    exact = network(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        near = network(images)
    assert near.dtype == torch.bfloat16
    assert ((near.float() - exact).norm() / exact.norm()).item() < 0.05
    whole = copy.deepcopy(network).bfloat16()(images.bfloat16())
    assert whole.dtype == torch.bfloat16 and ((whole.float() - exact).norm() / exact.norm()).item() < 0.1


def test_bfloat16_learns(network: Network, images: Tensor) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = network(images).float().square().mean()
    loss.backward()
    exact = copy.deepcopy(network)
    exact.zero_grad()
    exact(images).square().mean().backward()
    for (name, one), other in zip(network.named_parameters(), exact.parameters(), strict=True):
        assert one.grad is not None and other.grad is not None and one.grad.dtype == torch.float32
        if float(other.grad.norm()) > 1e-3:
            cosine = torch.nn.functional.cosine_similarity(one.grad.flatten(), other.grad.flatten(), dim=0)
            assert cosine > 0.98, name


def test_other_resolutions(network: Network) -> None:
    assert network(torch.zeros(2, 3, 32, 16)).shape == (2, 5)
    with pytest.raises(ValueError, match="multiple of the patch"):
        network(torch.zeros(2, 3, 30, 16))


def test_copies_are_apart(network: Network, images: Tensor) -> None:
    twin = copy.deepcopy(network)
    before = network(images)
    assert torch.equal(twin(images), before)
    with torch.no_grad():
        twin.stem.proj.weight.add_(1)
    assert torch.equal(network(images), before) and not torch.equal(twin(images), before)


def test_is_one_graph(network: Network, images: Tensor) -> None:
    """Nothing in the forward pass breaks the graph that torch.compile takes."""
    with torch.no_grad():
        traced = torch.compile(network, fullgraph=True, backend="aot_eager")(images)
        torch.testing.assert_close(traced, network(images), rtol=1e-4, atol=1e-4)
