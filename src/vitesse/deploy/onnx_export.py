"""A network as one ONNX file that cannot be fed wrongly: normalisation inside, description attached, checked before it
gets its name."""

from __future__ import annotations

import copy
import hashlib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vitesse.data import Preprocess
from vitesse.deploy.gate import GateReport, Proof, check, require
from vitesse.deploy.metadata import Metadata, installed_version
from vitesse.deploy.runtime import OnnxRuntime, TorchRuntime
from vitesse.errors import VitesseError
from vitesse.measure.latency import no_collection
from vitesse.runs.files import atomic_path

# One ONNX file is one protobuf message, which cannot be larger than this; the graph beside the weights takes little.
_LARGEST = 2**31 - 2**24


@dataclass(frozen=True, kw_only=True, slots=True)
class OnnxFile:
    """An exported file that passed the gate."""

    path: Path
    bytes: int
    opset: int
    metadata: Metadata
    gate: GateReport

    def to_dict(self) -> dict[str, Any]:
        """For the report."""
        return {"path": self.path.name, "bytes": self.bytes, "opset": self.opset, "gate": self.gate.to_dict()}


class Served(nn.Module):
    """A network with its normalisation before it: images in 0..1 -> logits."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, preprocess: Preprocess) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(preprocess.mean).view(-1, 1, 1))  # (C, 1, 1)
        self.register_buffer("std", torch.tensor(preprocess.std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network((images - self.mean) / self.std)
        return logits


def served(model: nn.Module, preprocess: Preprocess) -> Served:
    """A copy of the network as it will be served: float32, on the CPU, in evaluation mode, normalisation inside."""
    return Served(copy.deepcopy(model).cpu().float(), preprocess).eval()


def export_onnx(
    model: nn.Module,
    path: Path | str,
    *,
    preprocess: Preprocess,
    classes: Sequence[str],
    arch_json: str | None,
    proof: Proof,
    opset: int | None = None,
) -> OnnxFile:
    """Write `model` to `path` as ONNX: `images` float32 (B, C, H, W) in 0..1 -> `logits` (B, classes), any B.

    The file gets its name only after the gate: the same logits as the network on the proof's images at batches 1, 3
    and 8, and the same accuracy. The model itself is left as it is. VitesseError where the network cannot be exported,
    is larger than one file can hold, or would not compute the same.
    """
    network = served(model, preprocess)
    metadata = Metadata(preprocess=preprocess, classes=tuple(classes), arch_json=arch_json, version=installed_version())
    with atomic_path(path) as draft:
        used = draft_onnx(network, draft, metadata=metadata, opset=opset)
        report = check(OnnxRuntime(draft), TorchRuntime(network), proof)
        require(report, path)
        size = draft.stat().st_size
    return OnnxFile(path=Path(path), bytes=size, opset=used, metadata=metadata, gate=report)


def draft_onnx(network: Served, path: Path, *, metadata: Metadata, opset: int | None = None) -> int:
    """Write the file without any check, as for a network that is only timed; returns its opset."""
    weight = sum(tensor.nbytes for tensor in network.state_dict().values())
    if weight > _LARGEST:
        raise VitesseError(
            f"One ONNX file holds at most 2 GB, but the network's weights take {weight / 1e9:.1f} GB. "
            "Export a smaller network."
        )
    size = (metadata.preprocess.channels, *metadata.preprocess.size)
    # A batch of 1 would be taken for a constant here and there; the file would then fail at batch 3.
    example = torch.rand(2, *size, generator=torch.Generator().manual_seed(0))  # (2, C, H, W)
    with torch.inference_mode():
        logits = network(example)
    if not isinstance(logits, Tensor) or tuple(logits.shape) != (2, len(metadata.classes)):
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise VitesseError(
            f"The network must give one logit for each of the {len(metadata.classes)} classes, (2, "
            f"{len(metadata.classes)}) for two images, but it gives {found}. Name as many classes as it has."
        )
    proto = traced(network, example, opset=opset, outputs=("logits",))
    used = next(int(entry.version) for entry in proto.opset_import if not entry.domain)
    if opset is not None and used != opset:  # the exporter takes another one and only mutters
        raise VitesseError(f"The network cannot be exported with opset {opset}, only with {used}. Ask for that one.")
    _store_once(proto)
    tidy(proto, metadata.to_props())
    path.write_bytes(proto.SerializeToString())
    return used


def traced(network: nn.Module, example: Tensor, *, outputs: Sequence[str], opset: int | None = None) -> Any:
    """The network as an ONNX model proto, with a free batch size: `images` to these outputs."""
    try:
        # Collecting garbage meanwhile takes a seventh of the time and frees nothing.
        with _quiet(), no_collection(), torch.no_grad():
            program = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                input_names=["images"],
                output_names=list(outputs),
                opset_version=opset,
                verbose=False,
            )
    except Exception as error:  # the exporter wraps whatever the network raised
        cause = error.__cause__ or error
        first = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        raise VitesseError(f"The network cannot be exported to ONNX: {first}") from error
    assert program is not None  # only for the older exporter
    return program.model_proto


def _store_once(proto: Any) -> None:
    """Let equal tensors be one: the exporter turns a weight that several layers share anew for each of them."""
    names: dict[str, str] = {}
    first: dict[tuple[object, ...], str] = {}
    for tensor in proto.graph.initializer:
        # A tensor that is not held as bytes, as small ones may be, stays alone.
        content = hashlib.sha256(tensor.raw_data).digest() if tensor.raw_data else tensor.name
        names[tensor.name] = first.setdefault((tensor.data_type, *tensor.dims, content), tensor.name)
    if any(attribute.HasField("g") for node in proto.graph.node for attribute in node.attribute):
        return  # a graph within may mean any of them by name
    kept = [tensor for tensor in proto.graph.initializer if names[tensor.name] == tensor.name]
    for node in proto.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)


def tidy(proto: Any, props: Mapping[str, str]) -> None:
    """Attach our description; drop the exporter's, which holds source lines and paths of the machine it ran on.

    The shapes of inner values go too: the runtime infers them, and the quantizer stumbles over the exporter's.
    """
    del proto.metadata_props[:], proto.graph.metadata_props[:], proto.graph.value_info[:]
    for part in (proto.graph.node, proto.graph.input, proto.graph.output, proto.graph.initializer):
        for item in part:
            del item.metadata_props[:]
            item.ClearField("doc_string")
    for key, value in props.items():
        proto.metadata_props.add(key=key, value=value)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's warnings and log lines; its errors are raised, and so stay."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
