"""The memory of serving, measured in a process of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from vitesse.deploy import ExportedFile, measure_memory
from vitesse.errors import UsageError, VitesseError


def test_weights_count_and_this_process_does_not(tmp_path: Path, exported: ExportedFile) -> None:
    ballast = np.ones(200_000_000, dtype=np.uint8)  # held here, so no part of what serving takes
    weights = np.ones((192, 150_000), dtype=np.float32)  # 115 MB
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["y"])],
        "wide",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 150_000])],
        [numpy_helper.from_array(weights, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), tmp_path / "w.onnx")
    big, small = measure_memory(tmp_path / "w.onnx"), measure_memory(exported.path)
    assert weights.nbytes < big.network_bytes < 5 * weights.nbytes
    assert 0 < small.network_bytes < 60e6
    assert small.idle_bytes < ballast.nbytes


def test_what_cannot_be_served(tmp_path: Path, foreign) -> None:
    with pytest.raises(VitesseError, match="does not exist"):
        measure_memory(tmp_path / "no.onnx")
    model = onnx.load(foreign(tmp_path / "open.onnx"))
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    onnx.save(model, tmp_path / "open.onnx")
    with pytest.raises(UsageError, match="open"):
        measure_memory(tmp_path / "open.onnx")
    with pytest.raises(VitesseError, match="could not be served"):
        measure_memory(foreign(tmp_path / "fixed.onnx", fixed=True), batch=3)
