"""From a network to a file that serves it: export, the gate, the runtimes, and their latency and memory."""

from vitesse.deploy.bench import BenchResult, BenchRow, bench
from vitesse.deploy.exporting import ExportedFile, export
from vitesse.deploy.gate import BatchCheck, GateReport, Proof, check
from vitesse.deploy.latency_probe import LatencyProbe
from vitesse.deploy.memory import Memory, measure_memory
from vitesse.deploy.metadata import Metadata
from vitesse.deploy.onnx_runtime import OnnxRuntime
from vitesse.deploy.opening import opened
from vitesse.deploy.runtime import FileRuntime, Runtime, missing
from vitesse.deploy.torch_runtime import TorchRuntime

__all__ = [
    "BatchCheck",
    "BenchResult",
    "BenchRow",
    "ExportedFile",
    "FileRuntime",
    "GateReport",
    "LatencyProbe",
    "Memory",
    "Metadata",
    "OnnxRuntime",
    "Proof",
    "Runtime",
    "TorchRuntime",
    "bench",
    "check",
    "export",
    "measure_memory",
    "missing",
    "opened",
]
