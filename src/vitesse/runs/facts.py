"""What a run's folder tells about how it was made: the command, the moment, the versions."""

from __future__ import annotations

import datetime
import platform
import shlex
import sys
from collections.abc import Sequence
from importlib import metadata

# The libraries whose version may change a result; by their names in the package index.
LIBRARIES = (
    "vitesse-ml",
    "torch",
    "torchvision",
    "timm",
    "accelerate",
    "optuna",
    "onnx",
    "onnxruntime",
    "numpy",
    "pillow",
    "pycocotools",
)


def run_facts(verb: str, *, seed: int, arguments: Sequence[str] | None = None) -> dict[str, object]:
    """The table `run` of run.toml; `arguments`: those of this process where none are given."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    return {
        "verb": verb,
        "command": shlex.join(["vitesse", *words]),
        "seed": seed,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def versions() -> dict[str, str]:
    """The installed versions, of Python first; nothing is imported for it."""
    return {"python": platform.python_version()} | {name: found for name in LIBRARIES if (found := _version(name))}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
