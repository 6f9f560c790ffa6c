"""Exported files by their format: the suffix says what serves them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from vitesse.deploy.runtime import FileRuntime
from vitesse.errors import UsageError

Target = Literal["onnx", "openvino", "executorch", "torch"]
TARGETS: tuple[Target, ...] = get_args(Target)
SUFFIXES: dict[Target, str] = {"onnx": ".onnx", "openvino": ".xml", "executorch": ".pte", "torch": ".pt2"}
RUN_FILE, DETECTOR_FILE = "model.onnx", "detector.onnx"  # what stands for a run's folder


def is_exported(path: Path) -> bool:
    """Whether this is the name of a file that can be served."""
    return path.suffix in SUFFIXES.values()


def file_of_run(folder: Path) -> Path:
    """What stands for a run's folder: its exported network, or its detector where there is one and nothing else."""
    own, detector = folder / RUN_FILE, folder / DETECTOR_FILE
    return detector if detector.is_file() and not own.is_file() else own


def opened(path: Path | str, *, threads: int | None = None) -> FileRuntime:
    """An exported file, or the one of a run's folder, in the runtime that serves its format.

    UsageError for another suffix and where the runtime is not installed; VitesseError where the file is damaged.
    """
    path = file_of_run(Path(path)) if Path(path).is_dir() else Path(path)
    if path.suffix == ".xml":
        from vitesse.deploy.openvino_runtime import OpenVinoRuntime

        return OpenVinoRuntime(path, threads=threads)
    if path.suffix == ".pte":
        from vitesse.deploy.executorch_runtime import ExecutorchRuntime

        return ExecutorchRuntime(path, threads=threads)
    if path.suffix == ".pt2":
        from vitesse.deploy.torch_runtime import ProgramRuntime

        return ProgramRuntime(path, threads=threads)
    if path.suffix == ".onnx":
        from vitesse.deploy.onnx_runtime import OnnxRuntime

        return OnnxRuntime(path, threads=threads)
    raise UsageError(f"A file to serve ends in {', '.join(SUFFIXES.values())}, but got {path}.")


def file_bytes(path: Path) -> int:
    """The size of an exported file, an .xml with its weights."""
    return sum(one.stat().st_size for one in {path, path.with_suffix(".bin") if path.suffix == ".xml" else path})
