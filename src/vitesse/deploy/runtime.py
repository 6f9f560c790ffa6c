"""What serves a network, behind one small interface: images in 0..1 in, logits out. Which runtimes there are, and which
of them can be used here."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from vitesse.deploy.metadata import Metadata
from vitesse.errors import UsageError, VitesseError

Images = npt.NDArray[np.float32]  # (B, C, H, W), values in 0..1
Logits = npt.NDArray[np.float32]  # (B, classes)
Labels = npt.NDArray[np.int64]  # (B,)
Shape = tuple[int | None, ...]  # (B, C, H, W), None where any length will do

RUNTIMES: tuple[str, ...] = ("onnxruntime", "openvino", "compile", "eager", "executorch")


class Runtime(Protocol):
    """Anything that computes logits from images."""

    def run(self, images: Images) -> Logits:
        """Compute the logits of a batch; the shapes and the range of the values are checked."""
        ...

    def bind(self, images: Images) -> Callable[[], object]:
        """A call that computes this one batch and returns when it is done: for timing, so nothing is checked in it."""
        ...


class FileRuntime(Runtime, Protocol):
    """A runtime that serves an exported file."""

    name: ClassVar[str]  # of the runtime, to be read
    path: Path
    metadata: Metadata | None  # None where the file is not of Vitesse
    shape: Shape  # of the images that it takes


def missing(name: str) -> str | None:
    """Why this runtime cannot be used here, with the mend; None where it can. UsageError for an unknown name."""
    if name not in RUNTIMES:
        raise UsageError(f"A runtime is one of {', '.join(RUNTIMES)}, but got {name!r}.")
    if name in ("openvino", "executorch") and find_spec(name) is None:
        return f"The runtime {name} is not installed. Install it: python -m pip install 'vitesse-ml[{name}]'"
    compiler = os.environ.get("CXX") or {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    if name == "compile" and shutil.which(compiler) is None:
        return f"torch.compile needs a C++ compiler, but {compiler} is not found. Install it, or name yours: CXX=..."
    return None


def require_runtime(name: str) -> None:
    """UsageError with the mend where this runtime cannot be used here."""
    if (why := missing(name)) is not None:
        raise UsageError(why)


def require_file(path: Path) -> None:
    """VitesseError where there is no such file."""
    if not path.is_file():
        raise VitesseError(f"{path} does not exist.")


def check_images(images: Images, shape: Shape, *, ranged: bool) -> None:
    """VitesseError unless the images are float32 of this shape and, where `ranged`, in 0..1."""
    fits = images.ndim == 4 and all(want in (None, have) for want, have in zip(shape, images.shape, strict=True))
    if not fits or images.dtype != np.float32 or not images.size:
        wanted = ", ".join(name if n is None else str(n) for name, n in zip("BCHW", shape, strict=True))
        raise VitesseError(f"Images must be float32 ({wanted}), but got {images.dtype} {images.shape}.")
    # Pixels of 0..255, or images that were normalised already, give wrong answers without any other sign.
    if ranged and not (images.min() >= -1e-3 and images.max() <= 1 + 1e-3):
        raise VitesseError(
            f"Images must hold values in 0..1, but got {images.min():.3g} to {images.max():.3g}. "
            "Divide pixels by 255, and do not normalise them: the network does."
        )
