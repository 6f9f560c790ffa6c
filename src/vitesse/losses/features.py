"""Losses on features of two encoders: student and teacher (..., C), the student's projected to the teacher's width before.

All are computed in float32.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def cosine(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean of 1 - cosine similarity over all vectors: directions alone count."""
    return 1 - functional.cosine_similarity(student.float(), teacher.float(), dim=-1).mean()


def normalized_l2(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference, the teacher's vectors brought to mean 0 and deviation 1.

    So a few large channels do not outweigh all others (Wei et al. 2022, arXiv 2205.14141).
    """
    wanted = functional.layer_norm(teacher.float(), teacher.shape[-1:])
    return functional.mse_loss(student.float(), wanted)


def l2(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the vectors as they are (MiniViT's hidden states without relations)."""
    return functional.mse_loss(student.float(), teacher.float())
