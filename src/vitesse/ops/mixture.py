"""A mixture of operations, which a differentiable search runs in the place of a choice (DARTS, ICLR 2019, equation 2)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def mix(shares: Tensor, brought: Sequence[Tensor]) -> Tensor:
    """What all operations bring, tensors of one shape, each times its share; shares (operations,)."""
    whole = shares[0] * brought[0]
    for share, each in zip(shares[1:], brought[1:], strict=True):
        whole = whole + share * each
    return whole
