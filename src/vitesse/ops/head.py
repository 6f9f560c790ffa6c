"""Pooling, the hidden layer and the linear classifier: the module behind `arch.Head`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitesse.arch import BatchNorm, Head
from vitesse.ops.folding import normalized_linear
from vitesse.ops.mlp import activation


class Classifier(nn.Module):
    """Final norm, pooling, linear classifier; the norm before the pooling is applied by the network's features."""

    def __init__(self, value: Head, embed: int) -> None:
        super().__init__()
        self.value = value
        self.norm = self._norm(embed)
        if value.hidden:
            self.hidden = nn.Linear(embed, value.hidden)
            self.act = activation(value.act)
        self.classifier = self._linear(value.width(embed))
        if value.pool == "mean_distilled":
            self.norm_distilled = self._norm(embed)
        if value.pool in ("distilled", "mean_distilled"):
            self.classifier_distilled = self._linear(embed)

    def _norm(self, embed: int) -> nn.Module:
        norm = self.value.norm
        if norm is None:
            return nn.Identity()
        return (nn.BatchNorm1d if isinstance(norm, BatchNorm) else nn.LayerNorm)(embed, eps=norm.eps)

    def _linear(self, embed: int) -> nn.Module:
        return nn.Linear(embed, self.value.classes) if self.value.classes else nn.Identity()

    def pool(self, x: Tensor, extra: int) -> Tensor:
        """(B, N, embed) to what is classified: (B, embed), (B, hidden), or (B, 2, embed) where there are two classifiers.

        `extra` tokens come first.
        """
        if self.value.pool == "mean_distilled":
            mean = x[:, extra:].mean(1)
            return torch.stack([self.norm(mean), self.norm_distilled(mean)], 1)
        if self.value.pool == "mean":
            pooled = x[:, extra:].mean(1)
        elif self.value.pool == "class":
            pooled = x[:, 0]
        else:
            pooled = x[:, :2]
        pooled = pooled if self.value.norm_first else self.norm(pooled)
        return self.act(self.hidden(pooled)) if self.value.hidden else pooled

    def forward(self, pooled: Tensor) -> Tensor:
        """Pooled features to logits (B, classes)."""
        if pooled.ndim == 2:
            logits: Tensor = self.classifier(pooled)
            return logits
        first, second = pooled.unbind(1)
        both: Tensor = (self.classifier(first) + self.classifier_distilled(second)) / 2
        return both

    def folded(self) -> Classifier:
        """Itself, with batch normalizations made a part of the linear layers that follow them."""
        after_norm = "hidden" if self.value.hidden else "classifier"
        for norm, linear in (("norm", after_norm), ("norm_distilled", "classifier_distilled")):
            before, after = getattr(self, norm, None), getattr(self, linear, None)
            if isinstance(before, nn.BatchNorm1d) and isinstance(after, nn.Linear):
                setattr(self, linear, normalized_linear(before, after))
                setattr(self, norm, nn.Identity())
        return self
