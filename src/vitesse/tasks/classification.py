"""Classification: what is learned in a step, and how well a network does.

The losses of a step come one by one, so that each is back-propagated before the next network runs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from vitesse.arch import Backbone
from vitesse.data.part import Batch, Part
from vitesse.losses.classification import cross_entropy, distillation
from vitesse.measure.accuracy import Accuracy, top1
from vitesse.train.loop import Losses
from vitesse.train.processes import Accelerator, total

Forward = Callable[[Tensor], Tensor]
Draw = Callable[[random.Random], Backbone]


class Teaching:
    """What a network is told about an image: its label, and what a teacher makes of the very same view.

    weight: the teacher's share of the loss. temperature: softens both sides.
    """

    def __init__(self, teacher: nn.Module | None = None, *, weight: float = 0.7, temperature: float = 2.0) -> None:
        self.teacher = None if teacher is None else teacher.eval().requires_grad_(False)
        self.weight, self.temperature = weight, temperature

    def logits(self, batch: Batch) -> Tensor | None:
        """What the teacher makes of the batch, (B, classes)."""
        if self.teacher is None:
            return None
        with torch.no_grad():
            logits: Tensor = self.teacher.to(batch.images.device)(batch.images)
            return logits

    def loss(self, logits: Tensor, batch: Batch, teacher_logits: Tensor | None) -> Tensor:
        """Cross-entropy with the targets, mixed with distillation where there is a teacher."""
        labels = cross_entropy(logits, batch.targets)
        if teacher_logits is None:
            return labels
        taught = distillation(logits, teacher_logits, temperature=self.temperature)
        return (1 - self.weight) * labels + self.weight * taught


def plain(teaching: Teaching) -> Losses:
    """One network, one loss a step."""

    def losses(network: nn.Module, batch: Batch, step: int) -> Iterator[Tensor]:
        yield teaching.loss(network(batch.images), batch, teaching.logits(batch))

    return losses


def one_subnet(draw: Draw, teaching: Teaching, *, seed: int) -> Losses:
    """A supernet as AutoFormer trains it: one subnet a step, the same on all processes."""

    def losses(supernet: nn.Module, batch: Batch, step: int) -> Iterator[Tensor]:
        arch = draw(random.Random(f"{seed}/{step}"))
        yield teaching.loss(supernet(batch.images, arch), batch, teaching.logits(batch))

    return losses


def sandwich(ends: tuple[Backbone, Backbone], draw: Draw, teaching: Teaching, *, seed: int, randoms: int = 2) -> Losses:
    """A supernet by the sandwich rule: the largest subnet learns from labels and teacher, and the smallest and some
    random ones learn from what the largest makes of the same view (in-place distillation; Yu et al., BigNAS 2020).

    ends: the largest and the smallest.
    """
    big, small = ends

    def losses(supernet: nn.Module, batch: Batch, step: int) -> Iterator[Tensor]:
        rng = random.Random(f"{seed}/{step}")
        logits = supernet(batch.images, big)
        yield teaching.loss(logits, batch, teaching.logits(batch))
        guide = logits.detach()
        for arch in (small, *(draw(rng) for _ in range(randoms))):
            yield distillation(supernet(batch.images, arch), guide)

    return losses


@torch.inference_mode()
def accuracy(forward: Forward, part: Part, *, accelerator: Accelerator, batch: int = 256) -> Accuracy:
    """Top-1 accuracy over the whole part, each image once, shared by all processes."""
    ranks = {"rank": accelerator.process_index, "world": accelerator.num_processes}
    score = Accuracy()
    for one in part.batches(batch, **ranks):
        score += top1(forward(one.images.to(accelerator.device)).cpu(), one.labels)
    right, seen = total([score.correct, score.total], accelerator)
    return Accuracy(correct=round(right), total=round(seen))
