"""What the networks of a search are compared by: classifiers on their maps, and the ensemble of all (CDARTS, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from vitesse.ops.cells import PooledHead

Joined = Literal["concat", "sum"]


class Interactor(nn.Module):
    """One classifier for each map, and learned shares of their logits and the network's own.

    Both networks use the same. dims: the widths of the maps; a narrower network's meet the weights of the first channels.
    pools: the side of each classifier's pooling, of stride 2; None for 2 x 2 parts. hidden: channels within them. joined:
    the weighted logits stand behind one another in the batch (published), or are summed. fixed: the classifiers stay as they
    begin, so that only their running statistics move (published for CIFAR).
    """

    def __init__(
        self,
        dims: Sequence[int],
        classes: int,
        *,
        pools: Sequence[int | None],
        hidden: tuple[int, int] = (128, 768),
        joined: Joined = "concat",
        fixed: bool = False,
    ) -> None:
        super().__init__()
        self.dims, self.joined = tuple(dims), joined
        self.heads = nn.ModuleList(
            PooledHead(dim, classes, pool=pool, stride=2, affine=False, hidden=hidden)
            for dim, pool in zip(dims, pools, strict=True)
        )
        self.heads.requires_grad_(not fixed)
        count = len(self.heads) + 1
        self.shares = nn.Parameter(torch.rand(count) / count)

    def forward(self, maps: Sequence[Tensor], logits: Tensor) -> Tensor:
        """Maps (B, dim, h, w) and logits (B, classes) to (B, classes), or as often B where they are joined in the batch."""
        filled = (
            functional.pad(one, (0, 0, 0, 0, 0, dim - one.shape[1])) for one, dim in zip(maps, self.dims, strict=True)
        )
        outputs = [head(one) for head, one in zip(self.heads, filled, strict=True)]
        return ensemble([*outputs, logits], self.shares, joined=self.joined)


def ensemble(outputs: Sequence[Tensor], shares: Tensor, *, joined: Joined) -> Tensor:
    """Logits (B, classes) of several classifiers, weighted by softmax(shares), in one tensor."""
    weighted = [share * one for share, one in zip(shares.softmax(0), outputs, strict=True)]
    return torch.cat(weighted) if joined == "concat" else torch.stack(weighted).sum(0)
