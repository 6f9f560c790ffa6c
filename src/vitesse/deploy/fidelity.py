"""How true a changed network stays to the one that was trained: accuracy on the same images, and distance of the logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vitesse.deploy.answers import all_logits
from vitesse.deploy.gate import largest_difference
from vitesse.deploy.runtime import Images, Labels, Runtime
from vitesse.errors import UsageError
from vitesse.measure import Accuracy, top1


@dataclass(frozen=True, kw_only=True, slots=True)
class Fidelity:
    """`difference`: the largest of a logit, as a share of the network's largest logit."""

    network: Accuracy  # of the network itself
    accuracy: Accuracy  # of what it was changed to, on the same images
    difference: float

    @property
    def lost(self) -> float:
        """The accuracy that was lost, as a share of the images; below 0 where it was gained."""
        return (self.network.correct - self.accuracy.correct) / self.network.total

    @property
    def rank(self) -> tuple[float, float]:
        """Less is truer."""
        return self.lost, self.difference if np.isfinite(self.difference) else np.inf

    def to_dict(self) -> dict[str, Any]:
        """For JSON, which knows no NaN."""
        difference = self.difference if np.isfinite(self.difference) else None
        return {"accuracy": self.accuracy.value, "lost": self.lost, "difference": difference}


class Judge:
    """Compares runtimes with the network's own, `reference`, on images (N, C, H, W) in batches of `batch`.

    labels: (N,), whole numbers; without them the network's own answers count as right, so that the accuracy is the share
    of images on which the answer stays the same.
    """

    def __init__(self, reference: Runtime, images: Images, labels: Labels | None, *, batch: int) -> None:
        # Whole batches alone: some runtimes compile for each size that they meet.
        count = len(images) // batch * batch
        if not count:
            raise UsageError(
                f"A batch of {batch} images is to be judged, but there are {len(images)}. Give more images, or a smaller batch."
            )
        self._images, self._batch = images[:count], batch
        self._logits = all_logits(reference, self._images, batch=batch)  # (N, classes)
        self._labels = self._logits.argmax(-1) if labels is None else labels[:count]
        self._network = top1(self._logits, self._labels)

    def __call__(self, runtime: Runtime) -> Fidelity:
        """Run it on all images."""
        logits = all_logits(runtime, self._images, batch=self._batch)
        difference = largest_difference(logits, self._logits)
        return Fidelity(network=self._network, accuracy=top1(logits, self._labels), difference=difference)
