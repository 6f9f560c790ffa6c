"""A network as one ONNX file that cannot be fed wrongly: normalisation inside, description attached."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vitesse.deploy.metadata import Metadata
from vitesse.deploy.quiet import quiet
from vitesse.deploy.served import Served, cause, example
from vitesse.errors import VitesseError
from vitesse.measure.latency import no_collection
from vitesse.ops import suppression

# One ONNX file is one protobuf message, which cannot be larger than this; the graph beside the weights takes little.
_LARGEST = 2**31 - 2**24


def draft_onnx(
    network: Served, path: Path, *, metadata: Metadata, opset: int | None = None, steps: int | None = None
) -> int:
    """Write the file without any check, as for a network that is only timed; returns its opset.

    With `steps` its images may have any sides that are multiples of it, else those of the metadata alone.
    """
    weight = sum(tensor.nbytes for tensor in network.state_dict().values())
    if weight > _LARGEST:
        raise VitesseError(
            f"One ONNX file holds at most 2 GB, but the network's weights take {weight / 1e9:.1f} GB. "
            "Export a smaller network."
        )
    images, free = example(network, metadata, steps)
    proto = traced(network, {"images": images}, [free], outputs=("logits",), opset=opset)
    used = next(int(entry.version) for entry in proto.opset_import if not entry.domain)
    if opset is not None and used != opset:  # the exporter takes another one and only mutters
        raise VitesseError(f"The network cannot be exported with opset {opset}, only with {used}. Ask for that one.")
    _store_once(proto)
    tidy(proto, metadata.to_props())
    path.write_bytes(proto.SerializeToString())
    return used


def traced(
    network: nn.Module,
    inputs: Mapping[str, Tensor],
    free: Sequence[dict[int, Any]],
    *,
    outputs: Sequence[str],
    opset: int | None = None,
) -> Any:
    """A network as an ONNX model proto, traced with these inputs, each of which may have other lengths in the dimensions that
    `free` has of it."""
    try:
        # Collecting garbage meanwhile takes a seventh of the time and frees nothing.
        with quiet(), no_collection(), torch.no_grad():
            program = torch.onnx.export(
                network,
                tuple(inputs.values()),
                dynamo=True,
                dynamic_shapes=tuple(free),
                input_names=list(inputs),
                output_names=list(outputs),
                opset_version=opset,
                custom_translation_table={torch.ops.vitesse.likeliest.default: suppression.in_onnx},
                verbose=False,
            )
    except Exception as error:  # the exporter wraps whatever the network raised
        raise VitesseError(f"The network cannot be exported to ONNX: {cause(error)}") from error
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
