"""How far a changed network's features are from the original's, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

# Images to the features after every block, each (B, N, embed).
Features = Callable[[Tensor], Sequence[Tensor]]


@dataclass(frozen=True, slots=True)
class Drift:
    """After one block: the length of the difference in lengths of the original's features, and the mean cosine of tokens."""

    relative_l2: float
    cosine: float


@torch.no_grad()
def drift(original: Features, changed: Features, images: Iterable[Tensor]) -> list[Drift]:
    """The drift after each block, over all images; ValueError where the networks have not the same blocks."""
    sums = None
    for batch in images:
        pairs = list(zip(original(batch), changed(batch), strict=True))
        found = torch.tensor([_sums(theirs.float(), ours.float()) for theirs, ours in pairs], dtype=torch.float64)
        sums = found if sums is None else sums + found
    if sums is None:
        raise ValueError("A drift is measured on images, but got none.")
    return [
        Drift(relative_l2=(difference / max(length, 1e-30)) ** 0.5, cosine=cosine / tokens)
        for difference, length, cosine, tokens in sums.tolist()
    ]


def _sums(theirs: Tensor, ours: Tensor) -> list[float]:
    """Squared difference, squared length, cosines, and the number of tokens, summed."""
    cosines = functional.cosine_similarity(theirs, ours, dim=-1)
    sums = torch.stack([(ours - theirs).square().sum(), theirs.square().sum(), cosines.sum()]).tolist()
    return [*sums, float(cosines.numel())]
