"""Attention with bucketed relative terms on a CPU without gradients: a few images at a time, in memory that is reused.

There the scores of a whole batch are memory that is new each time, and to get it takes as long as the arithmetic.
"""

from __future__ import annotations

import torch
from torch import Tensor

CACHED = 2**18  # elements of one buffer of scores: 1 MB in float32, about what a core has near it

# Vectors (1 or heads, n, head_dim), and where each pair of tokens finds its product with one of them.
Bucketed = tuple[Tensor, Tensor]


def attend_in_place(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    key: Bucketed | None = None,
    query: Bucketed | None = None,
    value: Bucketed | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Softmax attention with the terms; q, k, v and the result are (B, heads, N, head_dim).

    The indices of `key` and `query` are flat, (N * N), into the products of all tokens, (N * n); that of `value` names
    buckets, (N, N). `mask` is added to the scores, broadcast to (B, heads, N, N).
    """
    batch, heads, tokens, width = q.shape
    scale, some = width**-0.5, max(1, min(batch, CACHED // (heads * tokens**2)))
    key, query = (None if term is None else (term[0] * scale, term[1]) for term in (key, query))
    out = torch.empty_like(v, memory_format=torch.contiguous_format)
    scores = q.new_empty(some, heads, tokens, tokens)
    spare = torch.empty_like(scores) if key is not None and query is not None else scores[:0]
    masses = None if value is None else q.new_empty(some, heads, tokens, value[0].shape[1])
    for first in range(0, batch, some):
        part = slice(first, first + some)
        queries, keys, values = (x[part].flatten(0, 1) for x in (q, k, v))  # (some * heads, N, head_dim)
        found = scores[: min(some, batch - first)]
        terms = [(x, term) for x, term in ((queries, key), (keys, query)) if term is not None]
        for place, (x, term) in zip((found, spare[: len(found)]), terms, strict=False):
            _spread(x.unflatten(0, found.shape[:2]), term, place)
        if len(terms) == 2:
            found += spare[: len(found)]
        flat = found.flatten(0, 1)
        torch.baddbmm(flat, queries, keys.transpose(1, 2), beta=len(terms) > 0, alpha=scale, out=flat)
        if mask is not None:
            found += mask.expand(batch, -1, -1, -1)[part]
        torch.softmax(flat, -1, out=flat)
        torch.bmm(flat, values, out=out[part].flatten(0, 1))
        if value is not None and masses is not None:
            vectors, index = value
            gathered = masses[: len(found)].zero_().scatter_add_(-1, index.expand_as(found), found)
            out[part] += gathered @ (vectors[0] if len(vectors) == 1 else vectors)
    return out


def _spread(x: Tensor, term: Bucketed, place: Tensor) -> None:
    """Write the products of x, (some, heads, N, head_dim), with the vectors into `place`, (some, heads, N, N)."""
    vectors, index = term
    products = x @ (vectors[0] if len(vectors) == 1 else vectors).transpose(-1, -2)
    torch.gather(products.flatten(2), -1, index.expand(*x.shape[:2], -1), out=place.flatten(2))
