"""Static int8 of an ONNX file by ONNX Runtime's quantizer: matrix products and convolutions, nothing else.

Sums, norms and softmax stay in float: rounding the residual stream costs most of the accuracy and little of the time.
The results of matrix products stay in float too, for the runtime has a kernel that gives them so.
"""

from __future__ import annotations

import copy
import logging
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.calibrate import CalibrationDataReader, create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.shape_inference import quant_pre_process

from vitesse.deploy.runtime import Images

PRODUCTS = ("MatMul", "Gemm", "Conv")
_CHUNK = 16


class OnnxInt8:
    """Quantizes one file, any number of times: the ranges of its values are measured once.

    images: float32 (N, C, H, W) in 0..1, as the file is served, N >= 1. `products` are the names of the nodes that become
    int8, in the order in which they are computed.
    """

    def __init__(self, source: Path, images: Images) -> None:
        with tempfile.TemporaryDirectory() as folder, _quiet():
            # It infers the shape of every value, without which none is quantized, and takes the file's own guesses out.
            prepared = Path(folder) / "prepared.onnx"
            quant_pre_process(source, prepared)
            self._model = onnx.load(prepared)
            self._props = list(onnx.load(source, load_external_data=False).metadata_props)
            calibrator = create_calibrator(prepared, PRODUCTS, augmented_model_path=str(Path(folder) / "watched.onnx"))
            calibrator.collect_data(_Batches(self._model.graph.input[0].name, images))
            self._ranges = calibrator.compute_data()
        self.products = tuple(node.name for node in self._model.graph.node if node.op_type in PRODUCTS)

    def write(self, target: Path, *, keep: Collection[str] = ()) -> None:
        """Write the int8 file to `target`; the products named in `keep` stay in float."""
        with _quiet():
            quantizer = QDQQuantizer(
                copy.deepcopy(self._model),
                True,  # a scale for each channel of a weight
                saturates(),  # weights of seven bits, not eight
                QuantType.QInt8,  # weights
                QuantType.QUInt8,  # all else
                self._ranges,
                [],
                list(keep),
                list(PRODUCTS),
                {"OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"]},
            )
            quantizer.quantize_model()
        proto = quantizer.model.model
        del proto.metadata_props[:], proto.graph.value_info[:]
        proto.metadata_props.extend(self._props)
        target.write_bytes(proto.SerializeToString())


@cache
def saturates() -> bool:
    """Whether int8 products are cut off on this processor: without VNNI two of them are added up in sixteen bits.

    Weights of seven bits cannot reach that limit. Which instructions the runtime takes is its own affair, so it is asked.
    """
    steps = 4
    weight = helper.make_tensor("weight", TensorProto.INT8, [steps, 1], [127] * steps)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["images", "weight"], ["sums"])],
        "product",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, [1, steps])],
        [helper.make_tensor_value_info("sums", TensorProto.INT32, [1, 1])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (sums,) = session.run(None, {"images": np.full((1, steps), 255, np.uint8)})
    return int(sums.item()) != 255 * 127 * steps


class _Batches(CalibrationDataReader):  # type: ignore[misc]
    """The images in batches, as the calibrator asks for them."""

    def __init__(self, name: str, images: Images) -> None:
        self._feeds = iter([{name: images[at : at + _CHUNK]} for at in range(0, len(images), _CHUNK)])

    def get_next(self) -> dict[str, Images] | None:
        return next(self._feeds, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the quantizer's remarks on tensors that it leaves alone; its errors are raised, and so stay."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
