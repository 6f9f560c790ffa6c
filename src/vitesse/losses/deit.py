"""DeiT's distillation loss: labels and a teacher's logits, soft or hard, with or without a distillation head."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional

from vitesse.losses.classification import cross_entropy, distillation


def deit_distillation(
    logits: Tensor,
    teacher_logits: Tensor,
    targets: Tensor,
    *,
    kind: Literal["none", "soft", "hard"] = "soft",
    weight: float = 0.5,
    temperature: float = 1.0,
    distilled_logits: Tensor | None = None,
    per_class: bool = False,
) -> Tensor:
    """(1 - weight) times the cross-entropy with the targets plus weight times the distillation (DeiT, arXiv 2012.12877).

    logits, teacher_logits: (B, classes). targets: labels (B,), or soft targets (B, classes). kind: "soft" is the
    Kullback-Leibler divergence of distributions softened by `temperature`, times its square; "hard" the cross-entropy with
    the teacher's best class; "none" leaves the labels alone, whatever the weight. distilled_logits: those of a
    distillation head, which then learn from the teacher instead. per_class: divide the soft divergence by B * classes as
    the published code does, not by B: it is there to compare, as it makes the teacher's share depend on how many
    classes there are.
    """
    labels = functional.cross_entropy(logits.float(), targets) if targets.ndim == 1 else cross_entropy(logits, targets)
    if kind == "none":
        return labels
    pupil = logits if distilled_logits is None else distilled_logits
    if kind == "hard":
        taught = functional.cross_entropy(pupil.float(), teacher_logits.argmax(-1))
    else:
        taught = distillation(pupil, teacher_logits, temperature=temperature)
        taught = taught / pupil.shape[-1] if per_class else taught
    return (1 - weight) * labels + weight * taught
