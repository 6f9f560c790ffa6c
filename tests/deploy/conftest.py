"""One small network and its exported file, shared by the room's tests: an export takes more than a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from vitesse.arch import MLP, Attention, Backbone, Block, Head, PatchEmbed, Stage, to_json
from vitesse.data import Preprocess
from vitesse.deploy import ExportedFile, Proof, export
from vitesse.nets import Network, build

CLASSES = ("zero", "eins", "zwölf")


@pytest.fixture(scope="session")
def small_arch() -> Callable[..., Backbone]:
    def arch(dim: int = 24, depth: int = 2) -> Backbone:
        return Backbone(
            stem=PatchEmbed(image=(8, 8), patch=(4, 4), channels=3),
            stages=(Stage(dim=dim, depth=depth, block=Block(Attention(heads=2, head_dim=12), MLP(ratio=2.0))),),
            head=Head(classes=len(CLASSES)),
        )

    return arch


@pytest.fixture(scope="session")
def network(small_arch: Callable[..., Backbone]) -> Network:
    torch.manual_seed(0)
    network = build(small_arch())
    for parameter in network.parameters():  # a fresh head may be all zero: then every file would look right
        nn.init.normal_(parameter, std=0.2)
    return network.eval()


@pytest.fixture(scope="session")
def preprocess() -> Preprocess:
    return Preprocess(size=(8, 8), channels=3, mean=(0.3, 0.4, 0.5), std=(0.2, 0.25, 0.3), crop=1.0)


@pytest.fixture(scope="session")
def proof() -> Proof:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(100, 3, 8, 8, generator=generator)
    return Proof(images=images, labels=torch.randint(len(CLASSES), (100,), generator=generator))


@pytest.fixture(scope="session")
def exported(
    network: Network, preprocess: Preprocess, proof: Proof, tmp_path_factory: pytest.TempPathFactory
) -> ExportedFile:
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    return export(network, path, preprocess=preprocess, classes=CLASSES, arch_json=to_json(network.arch), proof=proof)


@pytest.fixture(scope="session")
def linear() -> nn.Module:
    """Flatten and one linear layer: what `foreign` computes."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, len(CLASSES))).eval()


@pytest.fixture(scope="session")
def foreign(linear: nn.Sequential) -> Callable[..., Path]:
    """Write a file that is not ours. `fixed`: it calls its batch free, but inside it stands for 1."""

    def write(path: Path, *, fixed: bool = False, batch: int | str = "batch", kind: int = TensorProto.FLOAT) -> Path:
        weights = {
            "weight": linear[1].weight.detach().T.numpy(),
            "bias": linear[1].bias.detach().numpy(),
            "flat": torch.tensor([1 if fixed else -1, 3 * 8 * 8]).numpy(),
        }
        nodes = [
            helper.make_node("Reshape", ["pixels", "flat"], ["rows"]),
            helper.make_node("Gemm", ["rows", "weight", "bias"], ["scores"]),
        ]
        graph = helper.make_graph(
            nodes,
            "foreign",
            [helper.make_tensor_value_info("pixels", kind, [batch, 3, 8, 8])],
            [helper.make_tensor_value_info("scores", kind, [batch, len(CLASSES)])],
            [numpy_helper.from_array(value, name) for name, value in weights.items()],
        )
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
        return path

    return write
