"""An ONNX file whose weights are stored in fp16: half the size, computed in float32 as before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from vitesse.errors import VitesseError

# Smaller tensors are scales, shapes and constants: they save nothing, and some must be exact.
_LEAST = 256
_LARGEST = float(np.finfo(np.float16).max)


def fp16_onnx(source: Path, target: Path) -> None:
    """Write `source` to `target` with its weights in fp16, cast back where they are used (once, when the file is loaded).

    VitesseError where a weight is too large for fp16.
    """
    model = onnx.load(source)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < _LEAST:
            continue
        values, name = numpy_helper.to_array(tensor), tensor.name
        if not np.abs(values).max() <= _LARGEST:
            raise VitesseError(
                f"A weight in fp16 is at most {_LARGEST:.0f}, but {name} in {source} holds a larger one."
            )
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.fp16"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], name=f"{name}.cast", to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:], model.graph.value_info[:]
    model.graph.node.extend(nodes)
    target.write_bytes(model.SerializeToString())
