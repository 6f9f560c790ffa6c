"""ONNX Runtime: what it reads, what it refuses, and how."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto
from torch import nn

from vitesse.arch import from_json
from vitesse.data import Preprocess
from vitesse.deploy import ExportedFile, OnnxRuntime
from vitesse.errors import VitesseError
from vitesse.nets import Network

IMAGES = np.random.default_rng(0).random((4, 3, 8, 8), dtype=np.float32)


def test_the_description_comes_back(exported: ExportedFile, network: Network, preprocess: Preprocess) -> None:
    metadata = OnnxRuntime(exported.path).metadata
    assert metadata == exported.metadata
    assert metadata is not None and metadata.classes == ("zero", "eins", "zwölf")
    assert metadata.preprocess == preprocess
    assert metadata.arch_json is not None and from_json(metadata.arch_json) == network.arch


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES * 255, "Divide pixels by 255"),
        (IMAGES * 2 - 1, "do not normalise"),
        (IMAGES * np.nan, "values in 0..1"),
        (IMAGES.astype(np.float64), r"float32 \(B, 3, 8, 8\), but got float64"),
        (IMAGES[0], r"but got float32 \(3, 8, 8\)"),
        (IMAGES[:, :1], r"\(4, 1, 8, 8\)"),
        (IMAGES[:0], r"\(0, 3, 8, 8\)"),
    ],
)
def test_images_that_would_be_misunderstood_are_refused(
    exported: ExportedFile, images: np.ndarray, message: str
) -> None:
    with pytest.raises(VitesseError, match=message):
        OnnxRuntime(exported.path).run(images)
    with pytest.raises(VitesseError, match=message):
        OnnxRuntime(exported.path).bind(images)


def test_a_bound_call_computes_the_same(exported: ExportedFile) -> None:
    runtime = OnnxRuntime(exported.path, threads=1)
    np.testing.assert_array_equal(np.asarray(runtime.bind(IMAGES)()).squeeze(), runtime.run(IMAGES))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_off(exported: ExportedFile, tmp_path: Path, share: float) -> None:
    content = exported.path.read_bytes()
    (tmp_path / "cut.onnx").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(VitesseError, match=r"cut\.onnx"):
        OnnxRuntime(tmp_path / "cut.onnx")


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "no.onnx", tmp_path):
        with pytest.raises(VitesseError, match="does not exist"):
            OnnxRuntime(path)


def test_a_foreign_file_runs_without_a_description(tmp_path: Path, foreign, linear: nn.Module) -> None:
    runtime = OnnxRuntime(foreign(tmp_path / "f.onnx"))
    assert runtime.metadata is None and runtime.shape == (None, 3, 8, 8)
    normalised = IMAGES * 4 - 2  # nobody knows what it wants: no range is asked of its images
    wanted = linear(torch.from_numpy(normalised)).detach().numpy()
    np.testing.assert_allclose(runtime.run(normalised), wanted, atol=1e-4)


def test_a_foreign_file_of_another_kind_of_input(tmp_path: Path, foreign) -> None:
    with pytest.raises(VitesseError, match=r"one float32 input \(B, C, H, W\), but it takes pixels tensor\(double\)"):
        _double(foreign, tmp_path / "d.onnx")


def _double(foreign, path: Path) -> OnnxRuntime:
    model = onnx.load(foreign(path))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.DOUBLE
    for tensor in model.graph.initializer[:2]:
        tensor.CopyFrom(
            onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor).astype(np.float64), tensor.name)
        )
    onnx.save(model, path)
    return OnnxRuntime(path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("vitesse.format", "2", "reads files of format 1, but this one has format 2"),
        ("vitesse.classes", "[", "description is damaged"),
        ("vitesse.preprocess", '{"size": 3}', "."),
        ("vitesse.version", None, "description is damaged"),
    ],
)
def test_a_description_that_cannot_be_read(
    exported: ExportedFile, tmp_path: Path, key: str, value: str | None, message: str
) -> None:
    shutil.copy(exported.path, tmp_path / "m.onnx")
    model = onnx.load(tmp_path / "m.onnx")
    kept = [entry for entry in model.metadata_props if entry.key != key]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    if value is not None:
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(VitesseError, match=message) as caught:
        OnnxRuntime(tmp_path / "m.onnx")
    assert "m.onnx" in str(caught.value)
