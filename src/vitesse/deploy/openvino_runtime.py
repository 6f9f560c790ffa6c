"""An OpenVINO model, or an ONNX file, in OpenVINO."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from vitesse.deploy.metadata import Metadata
from vitesse.deploy.runtime import Images, Logits, Shape, check_images, require_file, require_runtime
from vitesse.errors import UsageError, VitesseError

Precision = Literal["f32", "bf16", "f16"]


class OpenVinoRuntime:
    """An .xml with its .bin beside it, or an .onnx, in OpenVINO on the CPU, set for the shortest wait for one batch.

    `precision` is that of the arithmetic; `threads` None leaves their number to the runtime. UsageError where OpenVINO
    is not installed or this processor lacks the precision, VitesseError where the file is missing or damaged.
    """

    name: ClassVar[str] = "OpenVINO"

    def __init__(self, path: Path | str, *, threads: int | None = None, precision: Precision = "f32") -> None:
        require_runtime("openvino")
        import openvino

        core, self.path = openvino.Core(), Path(path)
        model = read_model(self.path)
        self.metadata = Metadata.of_file(self.path, _props(model))
        inputs = [(one.get_element_type().get_type_name(), one.get_partial_shape()) for one in model.inputs]
        if len(inputs) != 1 or inputs[0][0] != "f32" or inputs[0][1].rank.is_dynamic or len(inputs[0][1]) != 4:
            found = ", ".join(f"{kind} {shape}" for kind, shape in inputs)
            raise VitesseError(f"{self.path} must take one float32 input (B, C, H, W), but it takes {found}.")
        self.shape: Shape = tuple(side.get_length() if side.is_static else None for side in inputs[0][1])
        able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision != "f32" and {"bf16": "BF16", "f16": "FP16"}[precision] not in able:
            raise UsageError(
                f"This processor computes in {', '.join(able)}, but precision={precision!r} was asked for."
            )
        config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
        config |= {} if threads is None else {"INFERENCE_NUM_THREADS": threads}
        self._compiled = core.compile_model(model, "CPU", config)
        self._request = self._compiled.create_infer_request()

    def run(self, images: Images) -> Logits:
        """images float32 (B, C, H, W) in 0..1 -> logits (B, classes). VitesseError for another shape, type or range."""
        check_images(images, self.shape, ranged=self.metadata is not None)
        logits: Logits = np.array(self._request.infer([images])[0])
        return logits

    def bind(self, images: Images) -> Callable[[], object]:
        """A call for timing; its input is bound once, as a server would."""
        check_images(images, self.shape, ranged=self.metadata is not None)
        from openvino import Tensor

        request, batch = self._compiled.create_infer_request(), np.ascontiguousarray(images)
        request.set_input_tensor(Tensor(batch, shared_memory=True))

        def call() -> Any:
            request.infer()
            return request.get_output_tensor().data

        return call


def read_model(path: Path) -> Any:
    """The file as a model of OpenVINO; VitesseError where it is missing or damaged."""
    import openvino

    require_file(path)
    try:
        return openvino.Core().read_model(path)
    except Exception as error:  # the runtime's own errors share no class but this
        reason = str(error).strip().splitlines()[-1]
        raise VitesseError(f"{path} cannot be read by OpenVINO; it may be cut off or damaged. {reason}") from error


def _props(model: Any) -> dict[str, str]:
    """The description: OpenVINO keeps that of an ONNX file under "framework", also in the .xml made from it."""
    if not model.has_rt_info("framework"):
        return {}
    return {key: value.astype(str) for key, value in model.get_rt_info("framework").astype(dict).items()}
