"""From pictures to a file's input, from that to its logits, and from these to classes in words: the same for whoever asks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vitesse.deploy.metadata import Metadata
from vitesse.deploy.runtime import FileRuntime, Images, Logits, Runtime
from vitesse.errors import UsageError

Pixels = npt.NDArray[np.uint8]  # (..., C, H, W), 0 to 255
Shares = npt.NDArray[np.float64]  # (..., classes), each row adds up to 1


def description(runtime: FileRuntime) -> Metadata:
    """What the file says about itself; UsageError where it says nothing, so that nobody knows how to feed it."""
    if runtime.metadata is None:
        raise UsageError(
            f"{runtime.path} does not say how to feed it: Vitesse did not write it. Name a file that it wrote."
        )
    return runtime.metadata


def to_input(pixels: Pixels, out: Images | None = None) -> Images:
    """pixels of any shape -> float32 in 0..1 of the same shape, in `out` where it is given."""
    return np.divide(pixels, np.float32(255), out=out, dtype=np.float32)


def all_logits(runtime: Runtime, images: Images, *, batch: int) -> Logits:
    """The logits (N, classes) of images (N, C, H, W), at most `batch` in one call."""
    return np.concatenate([runtime.run(images[at : at + batch]) for at in range(0, len(images), batch)])


def to_shares(logits: Logits) -> Shares:
    """logits (..., classes) -> probabilities (..., classes)."""
    exact = logits.astype(np.float64)
    odds = np.exp(exact - exact.max(-1, keepdims=True))
    shares: Shares = odds / odds.sum(-1, keepdims=True)
    return shares


def likeliest(shares: Shares, classes: tuple[str, ...], top: int) -> list[dict[str, Any]]:
    """The `top` likeliest classes of one image, the likeliest first: `[{"name": "cat", "probability": 0.9}, ...]`."""
    order = np.argsort(-shares, kind="stable")[:top]
    return [{"name": classes[place], "probability": float(shares[place])} for place in order]
