"""What two networks say about the same images, from their logits and from features on the way (CDARTS, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from vitesse.tasks.cyclic.settings import CyclicSettings


class Embedding(nn.Module):
    """Features to logits: pooled to 2 x 2, then as the auxiliary classifier of DARTS.

    The published heads pool by windows made for the maps of CIFAR and ImageNet; this one takes any map. A narrower
    network's features meet the first channels' weights.
    """

    def __init__(self, width: int, classes: int, hidden: tuple[int, int]) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, hidden[0], 1, bias=False)
        self.first_norm = nn.BatchNorm2d(hidden[0], affine=False)
        self.second = nn.Conv2d(*hidden, 2, bias=False)
        self.second_norm = nn.BatchNorm2d(hidden[1], affine=False)
        self.classifier = nn.Linear(hidden[1], classes)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, rows, columns) with C at most the width, to (B, classes)."""
        x = functional.adaptive_avg_pool2d(features.relu(), 2)
        x = functional.conv2d(x, self.first.weight[:, : x.shape[1]])
        x = self.second_norm(self.second(self.first_norm(x).relu())).relu()
        logits: Tensor = self.classifier(x.flatten(1))
        return logits


class Interactor(nn.Module):
    """The heads that both networks share, and the learned weights by which their answers count."""

    def __init__(self, widths: Sequence[int], classes: int, settings: CyclicSettings) -> None:
        super().__init__()
        self.heads = nn.ModuleList(Embedding(width, classes, settings.embedding) for width in widths)
        self.heads.requires_grad_(not settings.fixed_heads)
        self.shares = nn.Parameter(
            torch.zeros(len(widths) + 1)
        )  # of the features, from the first on, and of the logits
        self.summed = settings.ensemble == "sum"

    def forward(self, logits: Tensor, features: Sequence[Tensor]) -> Tensor:
        """All answers one below the other, (answers B, classes), each times its share; or their sum, (B, classes)."""
        answers = [head(one) for head, one in zip(self.heads, features, strict=True)] + [logits]
        weighed = [share * one for share, one in zip(self.shares.softmax(0), answers, strict=True)]
        return torch.stack(weighed).sum(0) if self.summed else torch.cat(weighed)
