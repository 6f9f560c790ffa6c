"""Scoring candidates: accuracy on the search part with inherited weights, many candidates against each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vitesse.arch import Backbone, buffers
from vitesse.data.part import Batch, Part
from vitesse.search.racing import race
from vitesse.shrink.job import Job
from vitesse.supernet import Supernet
from vitesse.tasks.classification import correct
from vitesse.train.processes import Accelerator, autocast

KEEP = 10  # a candidate is scored to the end while it may be among the best so many: evolution's parents

CALIBRATION = (4, 128)  # batches and images a batch, from which a candidate's running statistics are gathered


class Scorer:
    """`scorer(archs) -> accuracies`: the search part is decoded and moved to the device once, for all candidates.

    calibration: batches of images that are learned, on which each candidate gathers its own running statistics where it
    has batch normalization: those in the supernet are a mixture of all subnets'.
    """

    def __init__(
        self,
        supernet: Supernet,
        part: Part,
        *,
        accelerator: Accelerator,
        batch: int,
        z: float,
        precision: str,
        calibration: Iterable[Tensor] = (),
    ) -> None:
        self.supernet = supernet.to(accelerator.device).eval()
        self.accelerator, self.z, self.precision = accelerator, z, precision
        # A race needs several looks; the images of one look run as one batch.
        size = max(1, min(batch, -(-len(part) // 4) if z else batch))
        self.blocks = [self._on_device(one) for one in part.batches(size)]
        self.calibration = [images.to(accelerator.device) for images in calibration]
        self.statistics: dict[Backbone, dict[str, Tensor]] = {}

    def _on_device(self, batch: Batch) -> Batch:
        device = self.accelerator.device
        return Batch(batch.images.to(device), batch.targets, batch.labels.to(device), batch.indices)

    def __call__(self, archs: Sequence[Backbone]) -> list[float]:
        """The accuracy of each architecture in [0, 1]; an estimate for those that fell far behind early."""
        with autocast(self.precision, self.accelerator):
            self.statistics = {arch: self.supernet.statistics(arch, self.calibration) for arch in archs}
        if self.z:
            return race(self._right, archs, self.blocks, keep=KEEP, z=self.z)
        return [float(np.concatenate([self._right(arch, block) for block in self.blocks]).mean()) for arch in archs]

    def _right(self, arch: Backbone, block: Batch) -> NDArray[np.bool_]:
        with autocast(self.precision, self.accelerator), torch.inference_mode():
            own = self.statistics[arch]
            return correct(lambda images: self.supernet(images, arch, statistics=own), block, self.accelerator.device)


def calibration(job: Job, supernet: Supernet) -> list[Tensor]:
    """Images of the learn part for running statistics; none where the networks keep no statistics."""
    count, batch = CALIBRATION
    return [one.images for one in job.drawn(batch, count)] if buffers(supernet.host) else []
