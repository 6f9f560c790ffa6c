"""What every family keeps, from its value to the exported file. A new family joins by one line in FAMILIES."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from vitesse.arch import (
    MLP,
    Attention,
    Backbone,
    BatchNorm,
    Block,
    CascadedAttention,
    Choice,
    ContinuousPosition,
    ConvMLP,
    ConvStem,
    Downsample,
    Head,
    HeadMix,
    ImageRelativePosition,
    LayerNorm,
    LocalConv,
    LocalMix,
    LocalTransform,
    MBConv,
    Operation,
    PatchEmbed,
    PatchMerging,
    PlainConv,
    RelativePosition,
    SandwichDownsample,
    ShiftedWindowAttention,
    Skip,
    Stage,
    WindowAttention,
    buffers,
    contains,
    cost,
    from_json,
    parameters,
    smallest,
    to_json,
)
from vitesse.arch.choice import has_choice
from vitesse.data.preprocess import Preprocess
from vitesse.deploy import ExportedFile, OnnxRuntime, Proof, export, missing, opened
from vitesse.deploy.opening import SUFFIXES, Target
from vitesse.deploy.openvino_runtime import OpenVinoRuntime
from vitesse.nets import Network, build
from vitesse.nets.fold import fold
from vitesse.nets.statistics import recalibrate
from vitesse.saved import load_network, save_network
from vitesse.supernet import Supernet, inherit
from vitesse.weights.slice import lengths

ATTENTION: dict[str, Any] = {"heads": Choice(1, 2), "head_dim": 8}
AUTOFORMER = RelativePosition(reach=3, on="kv")
IRPE = ImageRelativePosition(on="qkv", shared=False)
CROSS = ImageRelativePosition(method="cross", on="qkv", extra=False)


def space(
    *,
    attention: dict[str, Any] | None = None,
    stem: dict[str, Any] | None = None,
    stage: dict[str, Any] | None = None,
    between: tuple[Operation, ...] = (),
    **head: Any,
) -> Backbone:
    """A small space of a family: its attention, its stem and its head differ from the plain ViT's as said."""
    block = Block(Attention(**(ATTENTION | (attention or {}))), *between, MLP(ratio=Choice(1.5, 2.0)))
    return Backbone(
        stem=PatchEmbed(**({"image": (16, 16), "patch": (8, 8)} | (stem or {}))),
        stages=(Stage(**({"dim": Choice(12, 16), "depth": Choice(1, 2), "block": block} | (stage or {}))),),
        head=Head(**({"classes": 4} | head)),
    )


def hierarchical(*, depth: int = Choice(1, 2), share: int = 1) -> Backbone:
    """A small space of TinyViT's kind, on maps that neither windows nor strides divide."""
    attention = WindowAttention(heads=Choice(1, 2), head_dim=8, window=Choice(2, 3))
    block = Block(attention, LocalConv(), MLP(ratio=Choice(1.5, 2.0)))
    both: dict[str, Any] = {"depth": depth, "share": share}
    later = Stage(dim=Choice(12, 16), block=block, down=Downsample(act=Choice("relu", "gelu")), **both)
    first = Stage(dim=Choice(8, 12), block=Block(MBConv(ratio=Choice(1.0, 2.0), kernel=3)), **both)
    head = Head(classes=4, pool="mean", norm_first=False)
    return Backbone(stem=ConvStem(image=(36, 44)), stages=(first, later), head=head)


def cascaded() -> Backbone:
    """A small space of EfficientViT's kind, on maps that windows do not divide."""
    attention = CascadedAttention(heads=2, kernels=(Choice(3, 5), 3), key_dim=Choice(4, 8), window=Choice(2, 3))
    first = Stage(dim=Choice(8, 12), depth=1, block=Block(LocalConv(residual=True), ConvMLP(ratio=Choice(1.0, 2.0))))
    down = SandwichDownsample(ratio=Choice(2.0, 4.0))
    later = Stage(dim=Choice(8, 16), depth=Choice(1, 2), block=Block(attention), down=down, channel_groups=2)
    head = Head(classes=4, pool="mean", norm=BatchNorm(), norm_first=False)
    return Backbone(stem=ConvStem(image=(36, 44), act="relu"), stages=(first, later), head=head)


def mobile() -> Backbone:
    """A small space of MobileNetV3's kind: choices between operations, gates, a stage of one layer, a hidden layer."""
    common: dict[str, Any] = {"act": "silu", "squeeze": True}
    first = MBConv(ratio=1.0, expand=False, act_last=False, **common)
    slot = Choice(
        MBConv(ratio=Choice(1.0, 2.0), kernel=5, act_last=False, **common),
        MBConv(ratio=2.0, kernel=3, act="silu", squeeze=Choice(False, True), act_last=False),
        Skip(),
    )
    down = Choice(Downsample(ratio=2.0, kernel=5, **common), Downsample(ratio=1.0, expand=False, act="silu"))
    return Backbone(
        stem=ConvStem(image=(20, 28), layers=1, act="silu", act_last=True),
        stages=(
            Stage(dim=8, depth=1, block=Block(first)),
            Stage(dim=Choice(8, 12), depth=Choice(1, 2), block=Block(slot), down=down),
            Stage(dim=16, depth=Choice(0, 1), block=Block(slot), down=Downsample(ratio=2.0, stride=1, act="silu")),
            Stage(dim=24, depth=0, down=PlainConv()),
        ),
        head=Head(classes=4, pool="mean", norm=None, norm_first=False, hidden=32),
    )


def swin(
    attention: dict[str, Any], *between: Operation, post_norm: bool = False, count: int = 2, **stage: Any
) -> Backbone:
    """A small space of Swin's kind, on maps that neither windows nor merging divide; the second stage is one window."""
    heads, mlp = {"heads": Choice(1, 2), "head_dim": 4}, MLP(ratio=Choice(1.0, 2.0), post_norm=post_norm)
    stages = []
    for s, window in enumerate((Choice(2, 3), 4)[:count]):
        block = Block(ShiftedWindowAttention(**heads, **attention, window=window, post_norm=post_norm), *between, mlp)
        down = PatchMerging(post_norm=post_norm) if s else None
        both: dict[str, Any] = {"dim": Choice(8, 12), "depth": Choice(1, 2), "block": block, "down": down}
        stages.append(Stage(**both | stage))
    return Backbone(
        stem=PatchEmbed(image=(20, 28), patch=(4, 4), tokens=(), position="none", norm=LayerNorm(), norm_first=True),
        stages=tuple(stages),
        head=Head(classes=4, pool="mean"),
    )


FAMILIES: dict[str, Backbone] = {
    "class token": space(),
    "mean pooled": space(pool="mean", norm_first=False, stem={"tokens": ()}),
    "distilled": space(pool="distilled", stem={"tokens": ("class", "distillation")}),
    "registers": space(stem={"tokens": ("class", "register", "register"), "position": "patches"}),
    "relative position": space(attention={"position": AUTOFORMER, "bias": "packed"}, pool="mean"),
    "relative position, many tokens": space(
        attention={"position": AUTOFORMER}, stem={"image": (24, 24), "patch": (4, 4)}
    ),
    "image position": space(attention={"position": IRPE}),
    "cross position": space(
        attention={"position": CROSS}, pool="mean", stem={"image": (24, 28), "patch": (4, 4), "tokens": ()}
    ),
    "scale and norm": space(attention={"layer_scale": True, "qk_norm": True}, stem={"norm": LayerNorm()}),
    "shared weights": space(
        attention={"mix": HeadMix(bias=True), "position": AUTOFORMER},
        stage={"share": 2, "depth": 2},
        between=(LocalMix(kernel=3),),
    ),
    "rectangle": space(stem={"image": (8, 24), "patch": (4, 8), "channels": 1}),
    "hierarchical": hierarchical(),
    "hierarchical, shared weights": hierarchical(depth=2, share=Choice(1, 2)),
    "cascades": cascaded(),
    "mobile": mobile(),
    "swin": swin({}),
    "swin v2": swin({"cosine": True, "bias": "qv", "position": ContinuousPosition(hidden=6)}, post_norm=True),
    "mini swin": swin(
        {"mix": HeadMix(bias=True), "always_masked": True},
        LocalTransform(kernel=3),
        count=1,
        **{"depth": 2, "share": 2, "own": ("norm",)},
    ),
}


def fill(module: nn.Module, arch: Backbone) -> None:
    """Weights and running statistics as if it had learned: fresh ones would hide much."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2)
    module.eval()
    if isinstance(module, Supernet) and has_choice(module.host):  # which computes nothing by itself
        for name, buffer in module.named_buffers():
            nn.init.uniform_(buffer, 0.5, 2.0) if name.endswith("running_var") else nn.init.zeros_(buffer)
    else:
        recalibrate(module, [torch.rand(16, arch.stem.channels, *arch.stem.image)])


@pytest.fixture(params=FAMILIES, scope="module")
def family(request: pytest.FixtureRequest) -> Backbone:
    return FAMILIES[request.param]


@pytest.fixture(scope="module")
def supernet(family: Backbone) -> Supernet:
    torch.manual_seed(0)
    supernet = Supernet(family)
    fill(supernet, family)
    return supernet


@pytest.fixture(scope="module")
def network(supernet: Supernet, family: Backbone) -> Network:
    return inherit(supernet.network, smallest(family))


@pytest.fixture(scope="module")
def images(family: Backbone) -> Tensor:
    """In 0..1, as they are exported."""
    stem = family.stem
    return torch.rand(8, stem.channels, *stem.image, generator=torch.Generator().manual_seed(1))


def test_its_value_is_json(family: Backbone) -> None:
    for value in (family, smallest(family)):
        assert from_json(to_json(value)) == value
    assert contains(family, smallest(family))


def test_its_parameters_are_those_of_the_formula(network: Network) -> None:
    found = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    assert found == {name: lengths(shape) for name, shape in parameters(network.arch).items()}
    assert sum(parameter.numel() for parameter in network.parameters()) == cost(network.arch).params
    held = {name: tuple(buffer.shape) for name, buffer in network.named_buffers()}
    assert held == {name: lengths(shape) for name, shape in buffers(network.arch).items()}


def test_a_slice_is_the_network(supernet: Supernet, network: Network, images: Tensor) -> None:
    assert network(images).shape == (8, 4)
    assert not torch.equal(network(images)[0], network(images)[1])  # it sees the images
    torch.testing.assert_close(supernet(images, network.arch), network(images), rtol=1e-5, atol=1e-5)


def test_every_parameter_learns(family: Backbone, images: Tensor) -> None:
    torch.manual_seed(0)
    network = build(smallest(family))
    network(images).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_features_after_every_block(network: Network, images: Tensor) -> None:
    last, found = network.forward_intermediates(images)
    stages, grids = network.arch.stages, network.arch.grids
    places = [(s.dim, g.rows, g.columns) for s, g in zip(stages, grids, strict=True)]
    kept = places * stages[0].depth if len(stages) == 1 else places
    assert [tuple(feature.shape) for feature in found] == [(8, *place) for place in kept]
    assert torch.equal(last, network.forward_features(images))
    assert torch.equal(network.forward_head(last), network(images))


def test_saves_and_loads(network: Network, images: Tensor, tmp_path: Path) -> None:
    save_network(network, tmp_path / "model.safetensors")
    assert torch.equal(load_network(tmp_path)(images), network(images))


def test_another_number_of_classes(network: Network, images: Tensor, tmp_path: Path) -> None:
    other = build(network.arch)
    other.reset_classifier(7)
    assert other(images).shape == (8, 7)
    assert other.arch == dataclasses.replace(network.arch, head=dataclasses.replace(network.arch.head, classes=7))
    save_network(other, tmp_path / "model.safetensors")


def test_folded_it_computes_the_same(network: Network, images: Tensor) -> None:
    folded, before = fold(network), copy.deepcopy(network.state_dict())
    with torch.no_grad():
        found, wanted = folded(images), network(images)
    assert float((found - wanted).abs().max()) <= 1e-5 * float(wanted.abs().max())
    if all(stage.share == 1 for stage in network.arch.stages):  # what is shared is not folded where that would part it
        assert not any(isinstance(module, _BatchNorm) for module in folded.modules())
        assert not any(name.endswith(".scale") for name, _ in folded.named_parameters())
    assert sum(p.numel() for p in folded.parameters()) <= sum(p.numel() for p in network.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def exported(network: Network, images: Tensor, path: Path, to: Target) -> ExportedFile:
    stem = network.arch.stem
    half = (0.5,) * stem.channels
    preprocess = Preprocess(size=stem.image, channels=stem.channels, mean=half, std=half, crop=1.0)
    return export(
        network,
        path,
        to=to,
        preprocess=preprocess,
        classes=("a", "b", "c", "d"),
        arch_json=to_json(network.arch),
        proof=Proof(images=images),
    )


def test_exports(network: Network, images: Tensor, tmp_path: Path) -> None:
    """The gate compares the file with the network at batches 1, 3 and 8; OpenVINO reads the same file."""
    file = exported(network, images, tmp_path / "model.onnx", "onnx")
    assert file.gate.passed and file.path.exists()
    if missing("openvino") is None:
        other, one = OpenVinoRuntime(file.path), OnnxRuntime(file.path)
        found, wanted = other.run(images.numpy()), one.run(images.numpy())
        assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()


@pytest.mark.parametrize(
    ("to", "name"),
    [
        ("torch", "hierarchical"),
        *itertools.product(["openvino", "executorch"], ["scale and norm", "hierarchical", "cascades"]),
    ],
)
def test_exports_in_every_format(to: Target, name: str, tmp_path: Path) -> None:
    if to != "torch" and (reason := missing(to)):
        pytest.skip(reason)
    arch = smallest(FAMILIES[name])
    network = build(arch)
    fill(network, arch)
    images = torch.rand(8, arch.stem.channels, *arch.stem.image, generator=torch.Generator().manual_seed(1))
    file = exported(network, images, tmp_path / f"model{SUFFIXES[to]}", to)
    assert file.gate.passed and opened(file.path).metadata == file.metadata
