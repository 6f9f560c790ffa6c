"""What holds for every format: described, proved, there only when it passed, and refused with a reason."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from vitesse.arch import Backbone, Block, ConvStem, Head, LocalConv, Stage, WindowAttention
from vitesse.data import Preprocess
from vitesse.deploy import ExportedFile, Proof, TorchRuntime, bench, export, exporting, missing, opened, served
from vitesse.deploy.opening import SUFFIXES, TARGETS, Target
from vitesse.errors import UsageError, VitesseError
from vitesse.nets import Network, build
from vitesse.nets.statistics import recalibrate

CLASSES = ("zero", "eins", "zwölf")
Write = Callable[..., ExportedFile]


@pytest.fixture(scope="module")
def write(network: Network, preprocess: Preprocess, proof: Proof) -> Write:
    def write(path: Path, to: Target = "onnx", **more: object) -> ExportedFile:
        about = {"preprocess": preprocess, "classes": CLASSES, "arch_json": None, "proof": proof} | more
        return export(about.pop("model", network), path, to=to, **about)  # type: ignore[arg-type]

    return write


def contents(file: Path) -> list[bytes]:
    """What is in a file, where it is an archive in each of its own; paths of the machine that wrote it would be there."""
    if not zipfile.is_zipfile(file):
        return [file.read_bytes()]
    with zipfile.ZipFile(file) as archive:
        return [archive.read(name) for name in archive.namelist()]


@pytest.mark.parametrize("to", TARGETS)
def test_every_format_is_proved_described_and_alone(to: Target, write: Write, network: Network, tmp_path: Path) -> None:
    if to in ("openvino", "executorch") and (reason := missing(to)):
        pytest.skip(reason)
    file = write(tmp_path / f"model{SUFFIXES[to]}", to)
    assert file.gate.passed and [one.batch for one in file.gate.batches] == [1, 3, 8]
    beside = {"model.bin"} if to == "openvino" else set()
    assert {one.name for one in tmp_path.iterdir()} == {file.path.name} | beside
    assert file.bytes == sum(one.stat().st_size for one in tmp_path.iterdir())
    runtime = opened(file.path, threads=1)
    assert runtime.metadata == file.metadata and runtime.shape == (None, 3, 8, 8)
    images = np.random.default_rng(0).random((5, 3, 8, 8), dtype=np.float32)
    wanted = TorchRuntime(served.unfolded(network, file.metadata.preprocess)).run(images)
    np.testing.assert_allclose(runtime.run(images), wanted, atol=1e-5 * np.abs(wanted).max())
    assert bench([file.path], batch=2, threads=1, rounds=1).rows[0].file_bytes == file.bytes
    assert file.to_dict()["to"] == to
    assert not any(b".py" in content for one in tmp_path.iterdir() for content in contents(one))


@pytest.mark.parametrize("to", ["openvino", "torch"])
def test_a_file_that_computes_something_else_is_not_written(
    to: Target, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stood there stays; of an .xml with its weights, too."""
    if to == "openvino" and (reason := missing(to)):
        pytest.skip(reason)
    path = tmp_path / f"model{SUFFIXES[to]}"
    for one in {path, path.with_suffix(".bin")}:
        one.write_text("the one before")
    before = {one.name: one.read_bytes() for one in tmp_path.iterdir()}

    def damaged(model: nn.Module, preprocess: Preprocess) -> served.Served:
        network = served.served(model, preprocess)
        network.mean += 0.1
        return network

    monkeypatch.setattr(exporting, "served", damaged)
    with pytest.raises(VitesseError, match=r"not written.\n  batch 1: largest difference"):
        write(path, to)
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("m.onnx", {"to": "openvino"}, r"A file for openvino ends in \.xml"),
        ("m.pt2", {"to": "torch", "opset": 20}, "An opset is ONNX's"),
        ("m.pt2", {"to": "torch", "dynamic_size": True}, "open in files for onnx and openvino, but not for torch"),
        ("m.onnx", {"dynamic_size": True}, "this network has Attention and PatchEmbed"),
        ("m.onnx", {"dynamic_size": True, "model": nn.Flatten()}, "for networks of Vitesse only"),
    ],
)
def test_what_cannot_be_asked_for(name: str, more: dict, message: str, write: Write, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        write(tmp_path / name, **more)
    assert not list(tmp_path.iterdir())


def test_a_file_of_no_known_format(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ends in \.onnx, \.xml, \.pte, \.pt2, but got .*m\.safetensors"):
        opened(tmp_path / "m.safetensors")
    with pytest.raises(VitesseError, match=r"model\.onnx does not exist"):
        opened(tmp_path)


def hierarchical(image: int) -> Backbone:
    """Its windows lie on 12 pixels of the image each."""
    block = Block(WindowAttention(heads=1, head_dim=8, window=3), LocalConv())
    head = Head(classes=3, pool="mean", norm_first=False)
    return Backbone(stem=ConvStem(image=image, layers=2), stages=(Stage(dim=6, depth=1, block=block),), head=head)


def test_a_network_without_positions_takes_images_of_other_sizes(tmp_path: Path, write: Write) -> None:
    torch.manual_seed(0)
    network = build(hierarchical(12))
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    recalibrate(network, [torch.rand(8, 3, 12, 12)])
    preprocess = Preprocess(size=(12, 12), mean=(0.5,) * 3, std=(0.5,) * 3)
    proof = Proof(images=torch.rand(4, 3, 12, 12))
    file = write(tmp_path / "m.onnx", model=network, preprocess=preprocess, proof=proof, dynamic_size=True)
    assert file.steps == 12
    assert [one.size for one in file.gate.batches] == [None] * 3 + [(24, 12)] * 3
    assert "batch 8 of 24 x 12: largest" in file.gate.table()
    runtime = opened(file.path)
    assert runtime.shape == (None, 3, None, None)
    images = np.random.default_rng(0).random((2, 3, 36, 60), dtype=np.float32)
    wanted = TorchRuntime(served.unfolded(network, preprocess)).run(images)
    np.testing.assert_allclose(runtime.run(images), wanted, atol=1e-5 * np.abs(wanted).max())
    assert bench([file.path], threads=1, rounds=1).rows[0].shape == (1, 3, 12, 12)


def test_windows_that_the_image_does_not_hold(tmp_path: Path, write: Write) -> None:
    with pytest.raises(UsageError, match=r"in steps of 12, .* image \(16, 16\) is no multiple"):
        write(tmp_path / "m.onnx", model=build(hierarchical(16)), dynamic_size=True)
