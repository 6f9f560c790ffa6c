"""Scoring candidates: accuracy on the search part with inherited weights, many candidates against each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vitesse.arch import Backbone, buffers
from vitesse.data.part import Batch, Part
from vitesse.search.racing import race
from vitesse.shrink.job import Job
from vitesse.shrink.subnets import CalibratedSubnets, Subnets
from vitesse.supernet import Supernet
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
        supernet = supernet.to(accelerator.device).eval()
        self.subnets: Subnets | CalibratedSubnets = Subnets(supernet)
        if buffers(supernet.host):
            self.subnets = CalibratedSubnets(supernet, [images.to(accelerator.device) for images in calibration])
        self.accelerator, self.z, self.precision = accelerator, z, precision
        # A race needs several looks; the images of one look run as one batch.
        size = max(1, min(batch, -(-len(part) // 4) if z else batch))
        self.blocks = [self._on_device(one) for one in part.batches(size)]

    def _on_device(self, batch: Batch) -> Batch:
        device = self.accelerator.device
        return Batch(batch.images.to(device), batch.targets, batch.labels.to(device), batch.indices)

    def __call__(self, archs: Sequence[Backbone]) -> list[float]:
        """The accuracy of each architecture in [0, 1]; an estimate for those that fell far behind early."""
        with autocast(self.precision, self.accelerator):
            self.subnets.keep(archs)
            if self.z:
                return race(self._right, archs, self.blocks, keep=KEEP, z=self.z)
            hits = [self._right(archs, block) for block in self.blocks]
        return [float(np.concatenate(own).mean()) for own in zip(*hits, strict=True)]

    def _right(self, archs: Sequence[Backbone], block: Batch) -> list[NDArray[np.bool_]]:
        """For each architecture and each image of the block, whether it has it right."""
        return [
            (logits.argmax(-1) == block.labels).cpu().numpy() for logits in self.subnets.logits(archs, block.images)
        ]


def calibration(job: Job, supernet: Supernet) -> list[Tensor]:
    """Images of the learn part for running statistics; none where the networks keep no statistics."""
    count, batch = CALIBRATION
    return [one.images for one in job.drawn(batch, count)] if buffers(supernet.host) else []
