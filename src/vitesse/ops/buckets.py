"""Buckets of image relative position encoding: which table entry a pair of tokens uses (iRPE, section 3.2)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Method = Literal["product", "euclidean", "quantization", "cross_rows", "cross_columns"]


def piecewise(distance: Tensor, *, alpha: float, beta: float, gamma: float) -> Tensor:
    """The bucket of each distance, from -int(beta) to int(beta): itself up to `alpha`, beyond it ever coarser.

    In the published order: round half to even, clip to the fraction `beta`, give back the sign, drop the fraction.
    """
    x = distance.float()  # no rounding boundary is so near that float32 and float64 differ; half precision does
    size = x.abs()
    far = alpha + (beta - alpha) * (size.clamp(min=alpha) / alpha).log() / math.log(gamma / alpha)
    far = x.sign() * far.round().clamp(max=beta)
    return torch.where(size <= alpha, x.round(), far).to(torch.int64)


def bucket_matrix(
    method: Method,
    *,
    alpha: float,
    beta: float,
    gamma: float,
    height: int,
    width: int,
    extra: int = 0,
    device: torch.device | None = None,
) -> Tensor:
    """The bucket of each (query, key), int64 (N, N) with N = extra + height * width, patches in reading order.

    An offset is query minus key. Pairs with one of the first `extra` tokens share the last bucket, one above the others.
    ValueError for an unknown method and for maps without a patch.
    """
    if method not in ("product", "euclidean", "quantization", "cross_rows", "cross_columns"):
        raise ValueError(
            f"A method is product, euclidean, quantization, cross_rows or cross_columns, but got {method!r}."
        )
    if height < 1 or width < 1 or extra < 0:
        raise ValueError(
            f"A map has a patch and no negative count, but got {height} x {width} and {extra} extra tokens."
        )
    patch = torch.arange(height * width, device=device)
    row, column = patch // width, patch % width
    rows, columns = row[:, None] - row[None, :], column[:, None] - column[None, :]  # (patches, patches)

    def bucket(distance: Tensor) -> Tensor:
        return piecewise(distance, alpha=alpha, beta=beta, gamma=gamma) + int(beta)

    line = 2 * int(beta) + 1
    if method == "product":
        found = bucket(rows) * line + bucket(columns)
    elif method == "euclidean":
        found = bucket((rows**2 + columns**2).float().sqrt().round())
    elif method == "quantization":
        found = bucket(rows**2 + columns**2)
    else:
        found = bucket(rows if method == "cross_rows" else columns)
    return functional.pad(found, (extra, 0, extra, 0), value=line**2 if method == "product" else line)
