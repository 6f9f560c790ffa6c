"""Tensors that follow from a map alone, such as index tables: made once, kept for the next time, never written to."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache, wraps

import torch
from torch import Tensor


def kept(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Keep what `make` gives for its last arguments, all positional; while a graph is made it is a part of the graph.

    No buffers: those would be empty in a skeleton on the device meta, and one map's would be wrong for another.
    """

    # A matrix for 42 x 42 patches takes 25 MB; the blocks of a network share theirs.
    @lru_cache(maxsize=16)
    def keep(*args: Hashable) -> Tensor:
        # A tensor of inference mode could not be used in training later.
        with torch.inference_mode(False), torch.no_grad():
            return make(*args)

    @wraps(make)
    def made(*args: Hashable) -> Tensor:
        return make(*args) if torch.compiler.is_compiling() else keep(*args)

    return made
