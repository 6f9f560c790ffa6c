"""The images that decide about smaller numbers: some to measure ranges on, others to judge what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vitesse.data import Augment, DataSettings, Mix, Part, Parts, load_parts, unnormalise
from vitesse.deploy.metadata import Metadata
from vitesse.deploy.runtime import Images, Labels
from vitesse.errors import UsageError

CALIBRATION, JUDGED = 128, 512


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pictures:
    """Images as they are served, float32 (N, C, H, W) in 0..1, N >= 1, and their labels (N,) where they are known."""

    images: Images
    labels: Labels | None = None

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or not len(self.images):
            raise UsageError(f"Images must be (N, C, H, W) with N >= 1, but got {self.images.shape}.")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Evidence:
    """calibration: what ranges are measured on. judged: others, that decide. tolerance: the accuracy that may be lost."""

    calibration: Pictures
    judged: Pictures
    tolerance: float

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < 1:
            raise UsageError(f"The accuracy that may be lost is a share from 0 to 1, but got {self.tolerance}.")


def gather(parts: Parts, *, labelled: bool, tolerance: float) -> Evidence:
    """From the data's learning part and its search part, never from its test part.

    labelled: whether the network knows these classes.
    """

    def pictures(part: Part, count: int) -> Pictures:
        # Plain, but drawn: a folder's own order is class by class.
        batch = next(part.train_batches(epoch=0, batch=count, seed=0, augment=Augment(), mix=Mix()))
        images = unnormalise(batch.images, parts.preprocess).clamp(0, 1).numpy()
        return Pictures(images=images, labels=batch.labels.numpy() if labelled else None)

    calibration, judged = pictures(parts.learn, CALIBRATION), pictures(parts.search, JUDGED)
    return Evidence(calibration=calibration, judged=judged, tolerance=tolerance)


def of_source(
    source: str, metadata: Metadata, *, tolerance: float, progress: Callable[[int, int, str], None] | None = None
) -> Evidence:
    """From a folder of images, or whatever else is data, prepared as an exported file says; labelled if it has its classes."""
    parts = load_parts(DataSettings(source=source), preprocess=metadata.preprocess, progress=progress)
    return gather(parts, labelled=parts.classes == metadata.classes, tolerance=tolerance)
