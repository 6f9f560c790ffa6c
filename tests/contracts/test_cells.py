"""What every family keeps, kept by networks of cells, which are no space: the registry, files in every format, the detector."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

from vitesse.arch import AuxiliaryHead, Cell, CellNetwork, CellStage, CellStem, Edge, Genotype, Head, cost, to_json
from vitesse.data.preprocess import Preprocess
from vitesse.deploy import Proof, export, opened
from vitesse.deploy.served import size_steps
from vitesse.errors import UsageError
from vitesse.nets import Network, build
from vitesse.nets.statistics import recalibrate

NORMAL = Cell(((Edge("sep_conv_3x3", 0), Edge("skip_connect", 1)), (Edge("dil_conv_3x3", 1), Edge("avg_pool_3x3", 2))))
REDUCE = Cell(((Edge("max_pool_3x3", 0), Edge("skip_connect", 1)), (Edge("skip_connect", 0), Edge("avg_pool_3x3", 2))))
STAGES = tuple(
    CellStage(depth=1, channels=4 * 2**s, genotype=Genotype(NORMAL, REDUCE), halves=s == 0) for s in range(2)
)
HEAD = Head(classes=4, pool="mean", norm=None, norm_first=False)
ARCHS = {
    "even maps": CellNetwork(stem=CellStem(dim=4, image=(8, 12)), stages=STAGES, head=HEAD),
    "odd maps": CellNetwork(
        stem=CellStem(dim=4, stride=8, image=(40, 56)), stages=STAGES, head=HEAD, auxiliary=AuxiliaryHead(stage=0)
    ),
}


def learned(arch: CellNetwork) -> Network:
    torch.manual_seed(0)
    network = build(arch)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    recalibrate(network.eval(), [torch.rand(16, 3, *arch.stem.image)])
    return network


def test_exports(tmp_path: Path) -> None:
    arch = ARCHS["odd maps"]
    images: Tensor = torch.rand(8, 3, *arch.stem.image, generator=torch.Generator().manual_seed(1))
    half = (0.5,) * 3
    file = export(
        learned(arch),
        tmp_path / "model.onnx",
        to="onnx",
        preprocess=Preprocess(size=arch.stem.image, channels=3, mean=half, std=half, crop=1.0),
        classes=tuple("abcd"),
        arch_json=to_json(arch),
        proof=Proof(images=images),
    )
    assert file.gate.passed and opened(file.path).metadata == file.metadata


def test_the_image_size_may_be_left_open_in_steps_of_its_strides() -> None:
    assert size_steps(learned(ARCHS["even maps"])) == 2
    with pytest.raises(UsageError, match="steps of 16, the strides of its cells"):
        size_steps(learned(ARCHS["odd maps"]))


def test_timm_makes_the_published_ones() -> None:
    network = timm.create_model("vitesse_cdarts_cifar10", num_classes=5, drop_path_rate=0.2, img_size=8)
    assert network.num_classes == 5 and network.default_cfg["crop_pct"] == 1.0
    assert sum(parameter.numel() for parameter in network.parameters()) == cost(network.arch).params
    features = timm.create_model("vitesse_cdarts_cifar10", features_only=True, out_indices=(0, 1), img_size=8)
    assert (features.feature_info.channels(), features.feature_info.reduction()) == ([288, 576], [2, 4])
    maps = features(torch.zeros(1, 3, 8, 8))
    assert [tuple(one.shape[1:]) for one in maps] == [(288, 4, 4), (576, 2, 2)] and len(features.model.stages) == 2


def test_a_detector_sees_its_maps() -> None:
    from vitesse.tasks.detection.neck import Trunk

    trunk = Trunk(learned(ARCHS["odd maps"]), finest=8, drop_path=0.1, frozen_statistics=True)
    assert (trunk.strides, trunk.widths) == ((16,), (16,))
    assert [tuple(one.shape) for one in trunk(torch.rand(1, 3, 64, 64))] == [(1, 16, 4, 4)]
