"""What a person names to be served, found: a run's folder, an .onnx file, or a network of timm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vitesse.deploy.bench import entrant
from vitesse.deploy.evidence import of_source
from vitesse.deploy.onnx_runtime import OnnxRuntime
from vitesse.deploy.preparing import Subject
from vitesse.deploy.served import served
from vitesse.errors import UsageError
from vitesse.saved import FILE, load_network


def subject_of(
    model: str,
    draft: Path,
    *,
    data: str | None,
    tolerance: float,
    progress: Callable[[int, int, str], None] | None = None,
) -> Subject:
    """Find the network; one of timm is exported to `draft`, with random weights.

    data: images to judge it on, as any verb takes them; None for none. UsageError for a name that stands for nothing, and
    for data where the file does not say how images are prepared.
    """
    found = entrant(model, draft)
    if found.file.suffix != ".onnx":
        raise UsageError(f"Ways to serve are made from an ONNX file, but {model} is another. Leave --runtime out.")
    runtime = OnnxRuntime(found.file, threads=1)
    if runtime.detects:
        raise UsageError(
            f"Ways to serve are tried on networks that name classes, but {model} finds objects. Leave --runtime out: it is "
            "timed in ONNX Runtime."
        )
    module, own = found.module, Path(model) / FILE
    if own.is_file():
        network = load_network(own)
        module = None if network.preprocess is None else served(network, network.preprocess)
    evidence, metadata = None, runtime.metadata
    if data is not None:
        if metadata is None:
            raise UsageError(
                f"{model} does not say how images are prepared for it, so it cannot be judged. Leave --data out."
            )
        evidence = of_source(data, metadata, tolerance=tolerance, progress=progress)
    return Subject(name=found.name, file=found.file, module=module, evidence=evidence, trained=found.module is None)
