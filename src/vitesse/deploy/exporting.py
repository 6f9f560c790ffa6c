"""From a network to a file that serves it, whatever the format: written, tried on real images, and only then named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from vitesse.data import Preprocess
from vitesse.deploy.executorch_export import draft_executorch
from vitesse.deploy.gate import GateReport, Proof, check, require
from vitesse.deploy.metadata import Metadata, installed_version
from vitesse.deploy.onnx_export import draft_onnx
from vitesse.deploy.opening import SUFFIXES, Target, file_bytes, opened
from vitesse.deploy.openvino_export import both_whole, draft_openvino
from vitesse.deploy.program_export import draft_program
from vitesse.deploy.served import served, size_steps, unfolded
from vitesse.deploy.torch_runtime import TorchRuntime
from vitesse.errors import UsageError
from vitesse.runs.files import atomic_path


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportedFile:
    """An exported file that passed the gate."""

    path: Path
    to: Target
    bytes: int  # with the weights, where they are a file of their own
    opset: int | None  # of ONNX
    delegated: float | None  # of ExecuTorch: the share of operations that XNNPACK computes
    steps: int | None  # the sides of its images are multiples of this; None: the one size of the metadata
    metadata: Metadata
    gate: GateReport

    def to_dict(self) -> dict[str, Any]:
        """For the report."""
        about = {"path": self.path.name, "to": self.to, "bytes": self.bytes, "opset": self.opset}
        return {**about, "delegated": self.delegated, "steps": self.steps, "gate": self.gate.to_dict()}


def export(
    model: nn.Module,
    path: Path | str,
    *,
    to: Target = "onnx",
    preprocess: Preprocess,
    classes: Sequence[str],
    arch_json: str | None,
    proof: Proof,
    opset: int | None = None,
    dynamic_size: bool = False,
) -> ExportedFile:
    """Write `model` to `path`: images float32 (B, C, H, W) in 0..1 -> logits (B, classes), any B (ExecuTorch: up to 8).

    The file gets its name only after the gate: the same logits as the network, which is not folded, on the proof's images
    at batches 1, 3 and 8, and the same accuracy. `dynamic_size` leaves H and W open (ONNX, OpenVINO), and the gate tries
    a second size. The model itself is left as it is. UsageError for a format's missing extra and for what the format or
    the network cannot do, VitesseError where the network cannot be exported or would not compute the same.
    """
    path = Path(path)
    _require_sound(path, to, opset=opset, dynamic_size=dynamic_size)
    steps = size_steps(model) if dynamic_size else None
    network = served(model, preprocess)
    metadata = Metadata(preprocess=preprocess, classes=tuple(classes), arch_json=arch_json, version=installed_version())
    used = delegated = None
    with (both_whole if to == "openvino" else atomic_path)(path) as draft:
        if to == "onnx":
            used = draft_onnx(network, draft, metadata=metadata, opset=opset, steps=steps)
        elif to == "openvino":
            draft_openvino(network, draft, metadata=metadata, steps=steps)
        elif to == "executorch":
            delegated = draft_executorch(network, draft, metadata=metadata)
        else:
            draft_program(network, draft, metadata=metadata)
        height, width = preprocess.size
        others = [] if steps is None else [(height + steps, width)]
        report = check(opened(draft), TorchRuntime(unfolded(model, preprocess)), proof, sizes=others)
        require(report, path)
        size = file_bytes(draft)
    return ExportedFile(
        path=path, to=to, bytes=size, opset=used, delegated=delegated, steps=steps, metadata=metadata, gate=report
    )


def _require_sound(path: Path, to: Target, *, opset: int | None, dynamic_size: bool) -> None:
    if path.suffix != SUFFIXES[to]:
        raise UsageError(f"A file for {to} ends in {SUFFIXES[to]}, but got {path}.")
    if opset is not None and to != "onnx":
        raise UsageError(f"An opset is ONNX's, but it was asked for with {to}.")
    if dynamic_size and to not in ("onnx", "openvino"):
        raise UsageError(f"The image size can be left open in files for onnx and openvino, but not for {to}.")
