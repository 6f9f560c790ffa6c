"""The gate after every export: the file must compute what the network computes, or it is not written.

Closeness on noise is not enough (a file can be close on one batch size and fail on another, or be wrong on real images
only), so the proof is made of real images, of several batch sizes, and of accuracy where labels are given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import functional

from vitesse.deploy.answers import all_logits
from vitesse.deploy.runtime import Images, Logits, Runtime
from vitesse.errors import UsageError, VitesseError
from vitesse.measure import Accuracy, top1

BATCHES = (1, 3, 8)
_CHUNK = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """What an exported file is tried on.

    images: float32 (N, C, H, W) in 0..1, N >= 1, real ones, repeated where a batch takes more. labels: (N,) or None.
    tolerance: the largest difference of a logit that is let pass, as a share of the largest logit. accuracy_tolerance:
    the largest difference in accuracy.
    """

    images: Tensor
    labels: Tensor | None = None
    tolerance: float = 1e-4
    accuracy_tolerance: float = 0.005

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or not len(self.images):
            raise UsageError(f"The gate needs images (N, C, H, W), but got {tuple(self.images.shape)}.")
        if self.labels is not None and tuple(self.labels.shape) != (len(self.images),):
            raise UsageError(
                f"The gate needs one label for each image, but got {tuple(self.labels.shape)} for {len(self.images)}."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchCheck:
    """One batch size: the largest difference of a logit over the largest logit, or why the file could not be run."""

    batch: int
    size: tuple[int, int] | None = None  # of the images, where it is not their own
    difference: float | None
    failure: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class GateReport:
    """What the gate found."""

    batches: tuple[BatchCheck, ...]
    tolerance: float
    network: Accuracy | None  # of the network that was exported
    file: Accuracy | None  # of the file
    accuracy_tolerance: float

    @property
    def close(self) -> bool:
        """Whether every batch size could be run and differs by no more than the tolerance (NaN never passes)."""
        return all(one.difference is not None and one.difference <= self.tolerance for one in self.batches)

    @property
    def passed(self) -> bool:
        """Whether the file may be written."""
        if self.network is None or self.file is None:
            return self.close
        return self.close and abs(self.network.value - self.file.value) <= self.accuracy_tolerance

    def table(self) -> str:
        """The differences, one line each."""
        lines = [
            f"  batch {one.batch}{_of(one.size)}: "
            + (one.failure or f"largest difference {one.difference:.2e} of the largest logit")
            for one in self.batches
        ]
        lines += [f"  allowed: {self.tolerance:.2e}"]
        if self.network is not None and self.file is not None:
            counts = f"network {self.network.value:.2%}, file {self.file.value:.2%} on {self.file.total} images"
            lines += [f"  accuracy: {counts}", f"  allowed difference: {self.accuracy_tolerance:.2%}"]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        batches = [
            {"batch": one.batch, "size": one.size, "difference": _finite(one.difference), "failure": one.failure}
            for one in self.batches
        ]
        return {
            "passed": self.passed,
            "batches": batches,
            "tolerance": self.tolerance,
            "network": self.network and self.network.to_dict(),
            "file": self.file and self.file.to_dict(),
            "accuracy_tolerance": self.accuracy_tolerance,
        }


def check(file: Runtime, network: Runtime, proof: Proof, *, sizes: Sequence[tuple[int, int]] = ()) -> GateReport:
    """Run the file and the network on the same images and compare; raises nothing where they differ.

    `sizes`: further (height, width) to which the images are brought and compared again.
    """
    images: Images = proof.images.cpu().float().numpy()
    batches = tuple(
        _batch(file, network, np.resize(brought, (batch, *brought.shape[1:])), size)
        for size, brought in [(None, images), *((size, _resized(proof.images, size)) for size in sizes)]
        for batch in BATCHES
    )
    network_score = file_score = None
    if proof.labels is not None and all(one.failure is None for one in batches):
        labels = proof.labels.cpu().numpy()
        network_score, file_score = (
            top1(all_logits(runtime, images, batch=_CHUNK), labels) for runtime in (network, file)
        )
    return GateReport(
        batches=batches,
        tolerance=proof.tolerance,
        network=network_score,
        file=file_score,
        accuracy_tolerance=proof.accuracy_tolerance,
    )


def require(report: GateReport, path: object) -> None:
    """VitesseError with the table of differences unless the gate was passed."""
    if not report.passed:
        raise VitesseError(
            f"An exported file must compute what the network computes, but {path} would not; it was not written.\n"
            f"{report.table()}"
        )


def _batch(file: Runtime, network: Runtime, images: Images, size: tuple[int, int] | None) -> BatchCheck:
    wanted, batch = network.run(images), len(images)
    try:
        found = file.run(images)
    except Exception as error:  # a runtime's errors share no other class; the report shows it, the gate stays shut
        failure = f"cannot be run: {str(error).splitlines()[0]}"
        return BatchCheck(batch=batch, size=size, difference=None, failure=failure)
    if found.shape != wanted.shape:
        failure = f"gives logits {found.shape} instead of {wanted.shape}"
        return BatchCheck(batch=batch, size=size, difference=None, failure=failure)
    return BatchCheck(batch=batch, size=size, difference=largest_difference(found, wanted), failure=None)


def _resized(images: Tensor, size: tuple[int, int]) -> Images:
    """As many of the images as a batch takes, brought to another (height, width)."""
    some = images[: max(BATCHES)].cpu().float()
    brought: Images = functional.interpolate(some, size=size, mode="bilinear", align_corners=False).numpy()
    return brought


def _of(size: tuple[int, int] | None) -> str:
    return "" if size is None else f" of {size[0]} x {size[1]}"


def largest_difference(found: Logits, wanted: Logits) -> float:
    """The largest difference of a logit, as a share of the largest wanted logit."""
    largest = max(float(np.abs(wanted).max()), 1e-6)  # a network whose logits are all zero must not divide by zero
    return float(np.abs(found - wanted).max()) / largest


def _finite(value: float | None) -> float | str | None:
    """JSON knows no NaN."""
    return value if value is None or np.isfinite(value) else str(value)
