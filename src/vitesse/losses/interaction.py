"""How far the logits of two networks are from each other, and how strongly scores are held back (CDARTS, arXiv 2006.10724)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional

Distance = Literal["kl", "cosine", "mse", "smooth_l1"]
Reduction = Literal["batchmean", "mean"]


def interaction(
    logits: Tensor,
    other: Tensor,
    *,
    distance: Distance = "kl",
    temperature: float = 2.0,
    reduction: Reduction = "batchmean",
) -> Tensor:
    """The distance from logits (B, classes) to another network's, times temperature^2. Gradients flow into both.

    kl: divergence of softened distributions; its mean over images, or with reduction "mean", as published, over all
    numbers, which is so many times less as there are classes. The others compare logits as they are, and are multiplied all
    the same, as published: cosine is the negative mean similarity, mse and smooth_l1 are means over all numbers.
    """
    one, two = logits.float(), other.float()
    if distance == "kl":
        soft, target = (functional.log_softmax(side / temperature, 1) for side in (one, two))
        each = functional.kl_div(soft, target, log_target=True, reduction="none")  # (B, classes)
        found = each.mean() if reduction == "mean" else each.sum(1).mean()
    elif distance == "cosine":
        found = -functional.cosine_similarity(one, two, dim=1, eps=1e-6).mean()
    elif distance == "mse":
        found = functional.mse_loss(one, two)
    else:
        found = functional.smooth_l1_loss(one, two)
    return found * temperature**2


def penalty_weight(cycle: int, *, first: int, cycles: int, share: float, initial: float = 5.0) -> float:
    """The weight of the penalty on scores in a cycle: `initial` in the `first`, falling linearly to 0 over a `share` of those
    that follow it up to `cycles`.
    """
    passed = (cycle - first) / ((cycles - first) * share)
    return max(0.0, initial * (1 - passed))
