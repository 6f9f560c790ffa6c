"""A way to serve a network: a runtime, and the precision of its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Literal, get_args

from vitesse.deploy.runtime import missing, require_runtime
from vitesse.errors import UsageError

Precision = Literal["fp32", "bf16", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

# What each runtime can compute in. fp16 in ONNX Runtime is of the stored weights alone: its kernels on a CPU are float32.
SOUND: dict[str, tuple[Precision, ...]] = {
    "onnxruntime": ("fp32", "fp16", "int8"),
    "openvino": ("fp32", "bf16", "fp16", "int8"),
    "compile": ("fp32", "bf16"),
    "eager": ("fp32", "bf16"),
    "executorch": ("fp32",),
}


@dataclass(frozen=True, slots=True)
class Way:
    """One runtime with one precision that it has; UsageError for a pair that there is not."""

    runtime: str
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        if self.precision not in SOUND.get(self.runtime, ()):
            known = "; ".join(f"{runtime}: {', '.join(sound)}" for runtime, sound in SOUND.items())
            raise UsageError(f"A runtime serves in a precision that it has, but got {self.label!r}. There are {known}.")

    @property
    def serves_files(self) -> bool:
        """Whether it serves an exported file, and not the module itself."""
        return self.runtime not in ("compile", "eager")

    @property
    def label(self) -> str:
        """As "openvino int8"."""
        return f"{self.runtime} {self.precision}"


def smaller(*, int8: bool, bf16: bool, fp16: bool) -> tuple[Precision, ...]:
    """The precisions below float32 that are asked for."""
    asked: dict[Precision, bool] = {"int8": int8, "bf16": bf16, "fp16": fp16}
    return tuple(name for name, wanted in asked.items() if wanted)


def ways(runtimes: Sequence[str], precisions: Sequence[Precision]) -> list[Way]:
    """All sound pairs, the plainest first; float32 is always among them, for without it nothing can be called faster."""
    wanted = {"fp32", *precisions}
    return [
        Way(runtime, precision)
        for runtime, sound in SOUND.items()
        if runtime in runtimes
        for precision in sound
        if precision in wanted
    ]


def usable(asked: Sequence[str] = ()) -> list[str]:
    """The runtimes that were asked for: "all" are those that can be used here, and none asked for are ONNX Runtime and,
    where it is installed, OpenVINO.

    UsageError, with the mend, where one that was named is missing.
    """
    if not asked or "all" in asked:
        return [name for name in (SOUND if asked else ("onnxruntime", "openvino")) if missing(name) is None]
    for name in asked:
        require_runtime(name)
    return list(asked)


def version_of(runtime: str) -> str:
    """The installed version of a runtime; UsageError, with the mend, where it is missing."""
    require_runtime(runtime)
    return metadata.version({"compile": "torch", "eager": "torch"}.get(runtime, runtime))
