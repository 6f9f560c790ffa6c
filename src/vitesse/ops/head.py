"""Pooling and the linear classifier: the module behind `arch.Head`."""

from __future__ import annotations

from torch import Tensor, nn

from vitesse.arch import Head
from vitesse.ops.folding import normalized_linear


class Classifier(nn.Module):
    """Final norm, pooling, linear classifier; the norm before the pooling is applied by the network's features."""

    def __init__(self, value: Head, embed: int) -> None:
        super().__init__()
        self.value = value
        self.norm = nn.LayerNorm(embed, eps=value.norm.eps) if value.norm is not None else nn.Identity()
        self.classifier = self._linear(embed)
        if value.pool == "distilled":
            self.classifier_distilled = self._linear(embed)

    def _linear(self, embed: int) -> nn.Module:
        return nn.Linear(embed, self.value.classes) if self.value.classes else nn.Identity()

    def pool(self, x: Tensor, extra: int) -> Tensor:
        """(B, N, embed) to (B, embed), or (B, 2, embed) where two tokens are read; `extra` tokens come first."""
        if self.value.pool == "mean":
            pooled = x[:, extra:].mean(1)
        elif self.value.pool == "class":
            pooled = x[:, 0]
        else:
            pooled = x[:, :2]
        return pooled if self.value.norm_first else self.norm(pooled)

    def forward(self, pooled: Tensor) -> Tensor:
        """Pooled features to logits (B, classes)."""
        if self.value.pool != "distilled":
            logits: Tensor = self.classifier(pooled)
            return logits
        first, second = pooled.unbind(1)
        both: Tensor = (self.classifier(first) + self.classifier_distilled(second)) / 2
        return both

    def folded(self) -> Classifier:
        """Itself, with batch normalizations made a part of the linear layers that follow them."""
        for norm, linear in (("norm", "classifier"), ("norm_distilled", "classifier_distilled")):
            before, after = getattr(self, norm, None), getattr(self, linear, None)
            if isinstance(before, nn.BatchNorm1d) and isinstance(after, nn.Linear):
                setattr(self, linear, normalized_linear(before, after))
                setattr(self, norm, nn.Identity())
        return self
