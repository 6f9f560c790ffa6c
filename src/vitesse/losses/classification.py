"""Losses on logits (B, classes). All are computed in float32, whatever the network ran in."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of logits (B, classes) with soft targets (B, classes) that sum to 1."""
    return functional.cross_entropy(logits.float(), targets.float())


def distillation(logits: Tensor, teacher_logits: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Mean Kullback-Leibler divergence from the teacher's softened distribution to the student's.

    Both are (B, classes). Multiplied by temperature^2, so that the gradient's size does not depend on it
    (Hinton et al. 2015, section 2).
    """
    student = functional.log_softmax(logits.float() / temperature, -1)
    teacher = functional.log_softmax(teacher_logits.float() / temperature, -1)
    return functional.kl_div(student, teacher, log_target=True, reduction="batchmean") * temperature**2
