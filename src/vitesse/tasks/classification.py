"""Classification: what is learned in a step, and how well a network does.

The losses of a step come one by one, so that each is back-propagated before the next network runs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from vitesse.arch import Backbone, ends
from vitesse.data.part import Batch, Part
from vitesse.losses.classification import distillation
from vitesse.measure.accuracy import Accuracy, top1
from vitesse.tasks.teaching import Seen, Teaching
from vitesse.train.loop import Losses
from vitesse.train.processes import Accelerator, total

Forward = Callable[[Tensor], Tensor]
Draw = Callable[[random.Random], Backbone]


def plain(teaching: Teaching) -> Losses:
    """One network, one loss a step; what the teaching prepared is what is trained."""

    def losses(network: nn.Module, batch: Batch, step: int) -> Iterator[Tensor]:
        seen = teaching.look(network, batch.images)
        yield teaching.loss(seen, batch, teaching.told(batch, step), student=network)

    return losses


def one_subnet(draw: Draw, teaching: Teaching, *, seed: int) -> Losses:
    """A supernet as AutoFormer trains it: one subnet a step, the same on all processes."""

    def losses(supernet: nn.Module, batch: Batch, step: int) -> Iterator[Tensor]:
        arch = draw(random.Random(f"{seed}/{step}"))
        yield teaching.loss(Seen(logits=supernet(batch.images, arch)), batch, teaching.told(batch, step))

    return losses


def sandwich(space: Backbone, draw: Draw, teaching: Teaching, *, seed: int, randoms: int = 2) -> Losses:
    """A supernet by the sandwich rule: the largest subnet learns from labels and teacher, and the smallest and some
    random ones learn from what the largest makes of the same view (in-place distillation; Yu et al., BigNAS 2020).
    """

    def losses(supernet: nn.Module, batch: Batch, step: int) -> Iterator[Tensor]:
        rng = random.Random(f"{seed}/{step}")
        big, small = ends(space, rng)
        logits = supernet(batch.images, big)
        yield teaching.loss(Seen(logits=logits), batch, teaching.told(batch, step))
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
