"""A network as an OpenVINO model: an .xml with its .bin beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vitesse.deploy.metadata import Metadata
from vitesse.deploy.onnx_export import draft_onnx
from vitesse.deploy.openvino_runtime import read_model
from vitesse.deploy.runtime import require_runtime
from vitesse.deploy.served import Served
from vitesse.runs.files import atomic_path


def draft_openvino(network: Served, path: Path, *, metadata: Metadata, steps: int | None = None) -> None:
    """Write the model without any check.

    It is made from our ONNX file: read in milliseconds, it keeps the description, the names and the shapes, which a
    conversion of PyTorch's program loses, and its traps are known.
    """
    require_runtime("openvino")
    import openvino

    draft = path.with_suffix(".onnx")
    try:
        draft_onnx(network, draft, metadata=metadata, steps=steps)
        openvino.save_model(read_model(draft), path, compress_to_fp16=False)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def both_whole(path: Path) -> Iterator[Path]:
    """As `atomic_path`, for an .xml and the .bin that is written beside it."""
    with atomic_path(path) as draft:
        weights = draft.with_suffix(".bin")
        try:
            yield draft
            path.unlink(missing_ok=True)  # an old model never stands beside new weights
            with atomic_path(path.with_suffix(".bin")) as place:
                os.replace(weights, place)
        finally:
            weights.unlink(missing_ok=True)
