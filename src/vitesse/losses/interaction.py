"""What pulls the two networks of a cyclic search towards each other (CDARTS, TPAMI 2023, "introspective distillation")."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional

Distance = Literal["kl", "cosine", "mse", "smooth_l1"]


def interaction(
    logits: Tensor,
    other: Tensor,
    *,
    distance: Distance = "smooth_l1",
    temperature: float = 2.0,
    reduction: Literal["batchmean", "mean"] = "batchmean",
) -> Tensor:
    """The distance of logits (B, classes) from another network's, times temperature^2; gradients flow into both.

    Only "kl" softens by the temperature; the published code multiplies all four by its square. `reduction` of "kl":
    "batchmean" is the divergence of an image; "mean" divides it by the classes too, as the published code does, so that it
    nearly vanishes where there are many.
    """
    logits, other = logits.float(), other.float()
    if distance == "kl":
        student, teacher = (functional.log_softmax(x / temperature, -1) for x in (logits, other))
        found = functional.kl_div(student, teacher, log_target=True, reduction="batchmean")
        found = found / logits.shape[-1] if reduction == "mean" else found
    elif distance == "cosine":
        found = -functional.cosine_similarity(logits, other, dim=-1).mean()
    elif distance == "mse":
        found = functional.mse_loss(logits, other)
    else:
        found = functional.smooth_l1_loss(logits, other)
    return found * temperature**2
