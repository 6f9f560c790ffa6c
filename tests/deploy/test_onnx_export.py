"""Export: right at every batch, described, silent, and there only when it passed."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnxruntime import quantization
from torch import Tensor, nn

from vitesse.arch import MLP, Attention, Backbone, Block, Head, HeadMix, PatchEmbed, Stage, cost
from vitesse.data import Preprocess, normalise
from vitesse.deploy import ExportedFile, OnnxRuntime, Proof, export, exporting, onnx_export
from vitesse.errors import VitesseError
from vitesse.nets import Network, build

THREE = ("a", "b", "c")


def test_the_file_computes_the_network_with_normalisation_inside(
    exported: ExportedFile, network: Network, preprocess: Preprocess
) -> None:
    pixels = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        wanted = network(normalise(pixels, preprocess)).numpy()
    found = OnnxRuntime(exported.path).run((pixels.float() / 255).numpy())
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())
    assert np.abs(wanted).max() > 0.1 and len(set(wanted[:, 0].tolist())) == 5


def test_the_report_holds_every_batch_and_equal_accuracy(exported: ExportedFile) -> None:
    assert [one.batch for one in exported.gate.batches] == [1, 3, 8]
    assert exported.gate.passed and exported.gate.network == exported.gate.file
    assert exported.gate.file is not None and exported.gate.file.total == 100
    assert exported.bytes == exported.path.stat().st_size
    assert exported.to_dict()["opset"] == exported.opset == 20


def test_the_file_describes_itself_to_any_reader(
    exported: ExportedFile, network: Network, preprocess: Preprocess
) -> None:
    model = onnx.load(exported.path)
    onnx.checker.check_model(model, full_check=True)
    props = {entry.key: entry.value for entry in model.metadata_props}
    assert "0 to 1" in props["vitesse.input"] and "Do not normalise" in props["vitesse.input"]
    session = onnxruntime.InferenceSession(exported.path)
    assert (session.get_inputs()[0].name, session.get_outputs()[0].name) == ("images", "logits")
    assert session.get_inputs()[0].shape == ["batch", 3, 8, 8]
    assert [file.name for file in exported.path.parent.iterdir()] == ["model.onnx"]  # no second file with the weights


def test_shared_weights_are_stored_once(preprocess: Preprocess, tmp_path: Path) -> None:
    sizes = {}
    for share in (1, 2):
        block = Block(Attention(heads=2, head_dim=32, mix=HeadMix()), MLP(ratio=2.0))
        arch = Backbone(
            stem=PatchEmbed(image=(8, 8), patch=(4, 4)),
            stages=(Stage(dim=64, depth=2, block=block, share=share),),
            head=Head(classes=3),
        )
        torch.manual_seed(0)
        images = torch.rand(8, 3, 8, 8)
        file = export(
            build(arch),
            tmp_path / f"{share}.onnx",
            preprocess=preprocess,
            classes=THREE,
            arch_json=None,
            proof=Proof(images=images),
        )
        onnx.checker.check_model(onnx.load(file.path), full_check=True)
        sizes[share] = file.bytes
    saved = 4 * (cost(replace(arch, stages=(replace(arch.stages[0], share=1),))).params - cost(arch).params)
    assert sizes[1] - sizes[2] == pytest.approx(saved, rel=0.05)


def test_nothing_of_this_machine_is_in_the_file(exported: ExportedFile) -> None:
    content = exported.path.read_bytes()
    assert b".py" not in content
    assert b"stack_trace" not in content


class Shy(nn.Module):
    """Takes another way for a single image, as networks with reshapes do unnoticed."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * 8 * 8, 3)

    def forward(self, images: Tensor) -> Tensor:
        flat = images.reshape(1, -1) if images.shape[0] == 1 else images.flatten(1)
        logits: Tensor = self.linear(flat)
        return logits


def test_a_network_that_treats_one_image_apart_is_right_at_every_batch(
    tmp_path: Path, preprocess: Preprocess, proof: Proof
) -> None:
    """With an example batch of 1 the way for one image would be written down, and fail at batch 3."""
    file = export(Shy(), tmp_path / "shy.onnx", preprocess=preprocess, classes=THREE, arch_json=None, proof=proof)
    assert file.gate.passed
    assert file.metadata.arch_json is None


def test_the_quantizer_takes_the_file(exported: ExportedFile, tmp_path: Path, proof: Proof) -> None:
    """It stumbles over the inner shapes that the exporter leaves, so these are dropped."""
    assert not onnx.load(exported.path).graph.value_info
    small = tmp_path / "int8.onnx"
    quantization.quantize_dynamic(exported.path, small)
    images = proof.images.numpy()
    full, rough = OnnxRuntime(exported.path).run(images), OnnxRuntime(small).run(images)
    assert np.abs(full - rough).max() < 0.3 * np.abs(full).max()
    assert "MatMulInteger" in {node.op_type for node in onnx.load(small).graph.node}


def test_export_is_silent_and_leaves_everything_as_it_was(
    network: Network, preprocess: Preprocess, proof: Proof, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = copy.deepcopy(network).bfloat16().train()
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    file = export(
        model, tmp_path / "new" / "m.onnx", preprocess=preprocess, classes=THREE, arch_json=None, proof=proof, opset=21
    )
    assert capfd.readouterr() == ("", "")
    assert file.opset == 21
    assert model.training and all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert next(model.parameters()).dtype == torch.bfloat16
    assert torch.equal(torch.get_rng_state(), random)


def test_a_file_that_fails_the_gate_is_not_written(
    tmp_path: Path, linear: nn.Module, foreign, proof: Proof, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fixed_batch(network: nn.Module, path: Path, **_: object) -> int:
        foreign(path, fixed=True)
        return 20

    monkeypatch.setattr(exporting, "draft_onnx", fixed_batch)
    target = tmp_path / "model.onnx"
    target.write_text("the one before")
    plain = Preprocess(size=(8, 8), mean=(0.0,) * 3, std=(1.0,) * 3)
    with pytest.raises(VitesseError, match=r"not written.\n  batch 1: largest .*\n  batch 3: cannot be run") as caught:
        export(linear, target, preprocess=plain, classes=THREE, arch_json=None, proof=proof)
    assert "model.onnx would not" in str(caught.value)
    assert target.read_text() == "the one before"
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


def test_another_opset_than_asked_for_is_refused(
    preprocess: Preprocess, proof: Proof, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The exporter writes 18 where 7 was asked for, and says so in its log only."""
    with pytest.raises(VitesseError, match="with opset 7, only with 18"):
        export(
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(3)), tmp_path / "m.onnx",
            preprocess=preprocess, classes=THREE, arch_json=None, proof=proof, opset=7,
        )  # fmt: skip
    assert capfd.readouterr() == ("", "") and not list(tmp_path.iterdir())


class Guess(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        rows = images.mean((2, 3))
        return rows if float(rows.sum()) > 0 else -rows


class Two(nn.Module):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images, images


@pytest.mark.parametrize(
    ("model", "classes", "message"),
    [
        (Guess(), THREE, "cannot be exported to ONNX: "),
        (Two(), THREE, "but it gives tuple"),
        (Shy(), ("a", "b"), r"each of the 2 classes, \(2, 2\) for two images, but it gives \(2, 3\)"),
    ],
)
def test_what_cannot_be_exported_is_said_and_leaves_no_file(
    model: nn.Module, classes: tuple[str, ...], message: str, tmp_path: Path, preprocess: Preprocess, proof: Proof
) -> None:
    with pytest.raises(VitesseError, match=message):
        export(model, tmp_path / "m.onnx", preprocess=preprocess, classes=classes, arch_json=None, proof=proof)
    assert not list(tmp_path.iterdir())


def test_a_network_too_large_for_one_file(
    network: Network, preprocess: Preprocess, proof: Proof, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_export, "_LARGEST", 1000)
    with pytest.raises(VitesseError, match="at most 2 GB"):
        export(network, tmp_path / "m.onnx", preprocess=preprocess, classes=THREE, arch_json=None, proof=proof)
    assert onnx_export._LARGEST < 2**31
