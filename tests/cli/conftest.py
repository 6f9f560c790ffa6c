"""A small network that knows the digits by name only, as a file, exported by `vitesse export`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vitesse.arch import MLP, Attention, Backbone, Block, Head, PatchEmbed, Stage
from vitesse.cli.main import run
from vitesse.data import Preprocess
from vitesse.nets import build
from vitesse.saved import save_network

CLASSES = tuple("0123456789")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    stem = PatchEmbed(image=(8, 8), patch=(4, 4), channels=1)
    stage = Stage(dim=16, depth=1, block=Block(Attention(heads=2, head_dim=8), MLP(ratio=2.0)))
    torch.manual_seed(0)
    network = build(Backbone(stem=stem, stages=(stage,), head=Head(classes=10)))
    for parameter in network.head.parameters():
        torch.nn.init.normal_(parameter)
    network.preprocess = Preprocess(size=(8, 8), channels=1, mean=(0.5,), std=(0.5,), crop=1.0)
    network.class_names = CLASSES
    path = tmp_path_factory.mktemp("run") / "model.safetensors"
    save_network(network, path)
    return path


@pytest.fixture(scope="session")
def exported(model: Path) -> Path:
    path = model.parent / "model.onnx"
    assert run(["export", str(model.parent), "--data", "digits", "--out", str(path)]) == 0
    return path
