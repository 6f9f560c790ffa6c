"""Losses on logits (B, classes). All are computed in float32, whatever the network ran in."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from vitesse.errors import VitesseError

Form = Literal["divergence", "cross_entropy"]


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of logits (B, classes) with soft targets (B, classes) that sum to 1."""
    return functional.cross_entropy(logits.float(), targets.float())


def distillation(
    logits: Tensor, teacher_logits: Tensor, *, temperature: float = 1.0, form: Form = "divergence"
) -> Tensor:
    """Mean Kullback-Leibler divergence from the teacher's softened distribution to the student's.

    Both are (B, classes). Multiplied by temperature^2, so that the gradient's size does not depend on it
    (Hinton et al. 2015, section 2). form "cross_entropy" is MiniViT's: the teacher's entropy is not taken off, which
    changes the value alone, and nothing is multiplied, so that the gradient falls with the temperature.
    """
    student = functional.log_softmax(logits.float() / temperature, -1)
    teacher = functional.log_softmax(teacher_logits.float() / temperature, -1)
    if form == "cross_entropy":
        return -(teacher.exp() * student).sum(-1).mean()
    return functional.kl_div(student, teacher, log_target=True, reduction="batchmean") * temperature**2


def dense_targets(classes: Tensor, values: Tensor, *, total: int, published: bool = False) -> Tensor:
    """A teacher's K greatest probabilities as a distribution over all classes, (B, total) float32.

    classes (B, K) whole numbers, values (B, K). What is left of 1 is spread evenly over the other classes (TinyViT, Wu
    et al. 2022, arXiv 2207.10666, section 3.1). Values rounded to float16 may sum to more than 1: the others then get 0
    and the values are scaled to sum to 1; `published` gives the others the negative rest instead, as the published code
    does. Where K is `total`, nothing is left to spread. VitesseError where a class does not exist or K is too large.
    """
    values, classes = values.float(), classes.long()
    others = total - values.shape[-1]
    if others < 0 or (classes.numel() and not 0 <= int(classes.min()) <= int(classes.max()) < total):
        raise VitesseError(
            f"Stored classes must be at most {total} and lie below {total}, but there are {values.shape[-1]}, from "
            f"{int(classes.min())} to {int(classes.max())}. Take a store of the same classes."
        )
    mass = values.sum(-1, keepdim=True)
    if not others or not published:
        values = values / (mass if not others else mass.clamp(min=1.0))
    rest = (1 - mass) / max(others, 1)
    dense = (rest if published else rest.clamp(min=0.0)).expand(-1, total)
    return torch.scatter(dense, -1, classes, values)
