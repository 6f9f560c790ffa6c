"""A network made ready to be served in one way: its file written where the way needs one of its own, then opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from vitesse.deploy import openvino_runtime
from vitesse.deploy.evidence import Evidence
from vitesse.deploy.executorch_runtime import ExecutorchRuntime
from vitesse.deploy.fidelity import Judge
from vitesse.deploy.onnx_runtime import OnnxRuntime
from vitesse.deploy.opening import file_bytes
from vitesse.deploy.openvino_runtime import OpenVinoRuntime
from vitesse.deploy.runtime import Runtime, require_file
from vitesse.deploy.sensitive import Quantizer, quantize
from vitesse.deploy.torch_runtime import CompiledRuntime, TorchRuntime, computes_bf16
from vitesse.deploy.ways import Precision, Way
from vitesse.errors import UsageError

Progress = Callable[[int, int, str], None]
_BATCH = 16
# In OpenVINO an int8 file says itself what is int8; this is what the rest of it is computed in.
_HINTS: dict[Precision, openvino_runtime.Precision] = {"fp32": "f32", "bf16": "bf16", "fp16": "f16", "int8": "f32"}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Subject:
    """A network that is to be served: its ONNX file; the module, normalisation inside, and images, where there are any.

    trained: False where its weights are random, so that its times are true and its accuracy says nothing.
    """

    name: str
    file: Path
    module: nn.Module | None = None
    evidence: Evidence | None = None
    trained: bool = True


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Ready:
    """A network in one way.

    file: what is opened, of `bytes` with its weights; None where the module is served. note: what stayed in float.
    """

    way: Way
    file: Path | None = None
    bytes: int | None = None
    module: nn.Module | None = None
    note: str = ""

    def open(self, *, threads: int | None) -> Runtime:
        """The runtime, with so many threads of one operation."""
        return open_way(self.way, self.file, self.module, threads=threads)


def prepare(way: Way, subject: Subject, folder: Path, *, progress: Progress | None = None) -> Ready:
    """Make `subject` ready; what has to be written goes to `folder`, under the name of the subject's file and the way.

    UsageError where the way needs images or a module that are not there.
    """
    if not way.serves_files:
        if subject.module is None:
            raise UsageError(f"PyTorch serves a network, but {subject.name} is a file. Name the folder of its run.")
        if way.precision == "bf16" and not computes_bf16():
            raise UsageError(
                "This processor has no arithmetic in bfloat16: PyTorch would imitate it, many times slower than float32."
            )
        return Ready(way=way, module=subject.module)
    if way.runtime == "executorch":
        file = subject.file.with_suffix(".pte")
        require_file(file)
        return Ready(way=way, file=file, bytes=file.stat().st_size)
    own = own_name(way, subject.file)
    if own is None:
        return Ready(way=way, file=subject.file, bytes=subject.file.stat().st_size)
    target, note = folder / own, ""
    if way.precision == "int8":
        if subject.evidence is None:
            raise UsageError("Int8 needs images to measure its ranges on, but there are none. Name some with --data.")
        note = _int8(way, subject.file, target, subject.evidence, progress)
    else:
        from vitesse.deploy.half_onnx import fp16_onnx

        fp16_onnx(subject.file, target)
    return Ready(way=way, file=target, bytes=file_bytes(target), note=note)


def _int8(way: Way, source: Path, target: Path, evidence: Evidence, progress: Progress | None) -> str:
    """Quantize `source` to `target`, judged on the images of the calibration: those that decide must be new to it."""
    known = evidence.calibration
    quantizer: Quantizer
    if way.runtime == "openvino":
        from vitesse.deploy.quantize_openvino import OpenVinoInt8

        quantizer = OpenVinoInt8(source, known.images)
    else:
        from vitesse.deploy.quantize_onnx import OnnxInt8

        quantizer = OnnxInt8(source, known.images)
    judge = Judge(OnnxRuntime(source), known.images, known.labels, batch=min(_BATCH, len(known.images)))
    return quantize(
        quantizer,
        target,
        judge=lambda file: judge(open_way(way, file, None, threads=None)),
        tolerance=evidence.tolerance,
        progress=progress,
    ).note


def open_way(way: Way, file: Path | None, module: nn.Module | None, *, threads: int | None) -> Runtime:
    """The runtime of a way, for its file or for a module with normalisation inside."""
    if not way.serves_files:
        assert module is not None
        kind = TorchRuntime if way.runtime == "eager" else CompiledRuntime
        return kind(module, precision="bf16" if way.precision == "bf16" else "fp32", threads=threads)
    assert file is not None
    if way.runtime == "openvino":
        return OpenVinoRuntime(file, threads=threads, precision=_HINTS[way.precision])
    if way.runtime == "executorch":
        return ExecutorchRuntime(file, threads=threads)
    return OnnxRuntime(file, threads=threads)


def own_name(way: Way, source: Path) -> str | None:
    """What the file is called that a way has of its own, as "model.int8.xml"; None where `source` itself is opened."""
    if way.precision != "int8" and way != Way("onnxruntime", "fp16"):
        return None
    kind = ".xml" if way.runtime == "openvino" else source.suffix
    return f"{source.stem}.{way.precision}{kind}"
