"""Int8 by both quantizers, and weights in fp16: close to the network, smaller, and fed as before."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

from vitesse.arch import to_json
from vitesse.data import Preprocess
from vitesse.deploy import ExportedFile, OnnxRuntime, Proof, export, quantize_onnx
from vitesse.deploy.fidelity import Judge
from vitesse.deploy.half_onnx import fp16_onnx
from vitesse.deploy.quantize_onnx import OnnxInt8
from vitesse.deploy.runtime import Runtime
from vitesse.errors import VitesseError
from vitesse.nets import build
from vitesse.zoo import cream_14

needs_nncf = pytest.mark.skipif(
    importlib.util.find_spec("nncf") is None,
    reason="NNCF is not installed: python -m pip install 'vitesse-ml[openvino]'",
)


@pytest.fixture(scope="module")
def images(proof: Proof) -> np.ndarray:
    return proof.images.numpy()


@pytest.fixture(scope="module")
def judge(exported: ExportedFile, images: np.ndarray) -> Judge:
    return Judge(OnnxRuntime(exported.path, threads=1), images, None, batch=10)


def onnx_int8(source: Path, images: np.ndarray) -> tuple[OnnxInt8, str, Callable[[Path], Runtime]]:
    return OnnxInt8(source, images), "int8.onnx", lambda file: OnnxRuntime(file, threads=1)


def openvino_int8(source: Path, images: np.ndarray):
    from vitesse.deploy.openvino_runtime import OpenVinoRuntime
    from vitesse.deploy.quantize_openvino import OpenVinoInt8

    return OpenVinoInt8(source, images), "int8.xml", lambda file: OpenVinoRuntime(file, threads=1)


@pytest.mark.parametrize("make", [onnx_int8, pytest.param(openvino_int8, marks=needs_nncf)])
@pytest.mark.filterwarnings("default")  # NNCF's imports warn
def test_int8_is_close_and_what_is_kept_in_float_is_closer(
    make, exported: ExportedFile, images: np.ndarray, judge: Judge, tmp_path: Path
) -> None:
    quantizer, name, opened = make(exported.path, images[:20])
    assert len(quantizer.products) == 2 * 6 + 2  # a block: q, k and v, two of attention, its output, two of the MLP
    file = tmp_path / name
    quantizer.write(file)
    runtime = opened(file)
    everything = judge(runtime)
    assert 1e-4 < everything.difference < 0.2  # rounded, and not to something else
    assert runtime.metadata == exported.metadata  # so that it can be fed as the file before it
    assert runtime.run(images[:3]).shape == (3, 3)
    quantizer.write(file, keep=quantizer.products[: len(quantizer.products) // 2])
    half = judge(opened(file)).difference
    quantizer.write(file, keep=quantizer.products)
    assert judge(opened(file)).difference < 1e-5 < half
    if name.endswith(".onnx"):
        assert not any("Quantize" in node.op_type for node in onnx.load(file).graph.node)


@needs_nncf
@pytest.mark.filterwarnings("default")
def test_convolutions_between_tokens_and_maps_become_int8_in_openvino(tmp_path: Path) -> None:
    """Cream's first layer is a depthwise convolution on a stream of tokens."""
    torch.manual_seed(0)
    network = build(cream_14(classes=3, image=32)).eval()
    shown = Proof(images=torch.rand(40, 3, 32, 32), labels=torch.zeros(40, dtype=torch.long))
    exported = export(
        network, tmp_path / "float.onnx", preprocess=Preprocess(size=(32, 32)), classes=("a", "b", "c"),
        arch_json=to_json(network.arch), proof=shown,
    )  # fmt: skip
    images = shown.images.numpy()
    quantizer, name, opened = openvino_int8(exported.path, images[:20])
    quantizer.write(tmp_path / name)
    runtime = opened(tmp_path / name)
    assert 1e-6 < Judge(OnnxRuntime(exported.path, threads=1), images, None, batch=10)(runtime).difference < 0.2


def test_ranges_are_those_of_the_images_as_they_are_served(
    exported: ExportedFile, images: np.ndarray, judge: Judge, tmp_path: Path
) -> None:
    """Images that were normalised twice have other ranges, and the file is worse for it."""
    differences = []
    for one in (images, (images - 0.4) / 0.02):
        OnnxInt8(exported.path, one.astype(np.float32)).write(tmp_path / "int8.onnx")
        differences.append(judge(OnnxRuntime(tmp_path / "int8.onnx", threads=1)).difference)
    assert differences[1] > 2 * differences[0]


def test_weights_have_seven_bits_where_products_would_be_cut_off(
    exported: ExportedFile, images: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantizer, largest = OnnxInt8(exported.path, images), {}
    for cut in (False, True):
        monkeypatch.setattr(quantize_onnx, "saturates", lambda cut=cut: cut)
        quantizer.write(tmp_path / "int8.onnx")
        weights = [numpy_helper.to_array(one) for one in onnx.load(tmp_path / "int8.onnx").graph.initializer]
        largest[cut] = max(int(np.abs(one.astype(np.int32)).max()) for one in weights if one.dtype == np.int8)
    assert largest == {False: 127, True: 64}


def test_weights_in_fp16_are_half_as_big(exported: ExportedFile, judge: Judge, tmp_path: Path) -> None:
    file = tmp_path / "half.onnx"
    fp16_onnx(exported.path, file)
    weights = {tensor.name: tensor for tensor in onnx.load(file).graph.initializer}
    large = [tensor for tensor in onnx.load(exported.path).graph.initializer if np.prod(tensor.dims) >= 256]
    assert large and all(weights[f"{one.name}.fp16"].data_type == TensorProto.FLOAT16 for one in large)
    saved = sum(2 * int(np.prod(one.dims)) for one in large)
    assert 0.9 * saved < exported.bytes - file.stat().st_size <= saved
    assert 0 < judge(OnnxRuntime(file, threads=1)).difference < 5e-3
    assert OnnxRuntime(file).metadata == exported.metadata


def test_a_weight_too_large_for_fp16_is_said(exported: ExportedFile, tmp_path: Path) -> None:
    model = onnx.load(exported.path)
    large = next(tensor for tensor in model.graph.initializer if np.prod(tensor.dims) >= 256)
    large.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(large) * np.float32(1e6), large.name))
    onnx.save(model, tmp_path / "large.onnx")
    with pytest.raises(VitesseError, match="at most 65504.*holds a larger one"):
        fp16_onnx(tmp_path / "large.onnx", tmp_path / "half.onnx")
