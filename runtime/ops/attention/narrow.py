"""Attention on a CPU with products in 16 bits, where its units for them are faster than flash.

A group of query heads that share keys takes a block of queries at a time through one product with
all the keys its last query sees, a softmax in place, and one product with the values; so a causal
block skips what lies after it, and what lies between stays in cache.  Queries, keys and values are
results of such products themselves, so that rounding them again costs next to nothing; both
products and the softmax add up in fp32.
"""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK_QUERIES = 128
"""The most queries of a block."""

LEAST_QUERIES = 16
"""With fewer in the chunk, or in a block, packing the keys is not worth it."""

SCORES = 1 << 21
"""The most scores of a block, all its heads together: 4 MiB."""


def takes(q: Tensor, k: Tensor) -> bool:
    """Whether this way is the faster one; q [l, h, p], k [k, t, p]."""
    return q.shape[0] >= LEAST_QUERIES and _block(q, k) >= LEAST_QUERIES


def _block(q: Tensor, k: Tensor) -> int:
    heads, t, _ = k.shape
    return min(BLOCK_QUERIES, q.shape[0], SCORES * heads // (q.shape[1] * t))


def attention(q: Tensor, k: Tensor, v: Tensor, dtype: torch.dtype) -> Tensor:
    """As in `reference`, with products in `dtype`; the result is in q's."""
    (l, h, p), (heads, t, _) = q.shape, k.shape
    shared, block = h // heads, _block(q, k)
    # Of a block's own keys, those after a query.
    mask = torch.full((block, block), -torch.inf, dtype=dtype).triu_(1)[:, None]
    room = torch.empty(shared * block * t, dtype=dtype)
    out = torch.empty(l, h, p, dtype=q.dtype)
    for head in range(heads):
        keys, values = k[head].to(dtype).t(), v[head].to(dtype)  # [p, t], [t, p]
        own = slice(head * shared, (head + 1) * shared)
        for start in range(0, l, block):
            rows = q[start : start + block, own]
            m = rows.shape[0]
            seen = t - l + start + m
            scores = room[: m * shared * seen].view(m * shared, seen)
            scaled = (rows * p**-0.5).to(dtype).view(m * shared, p)
            torch.mm(scaled, keys[:, :seen], out=scores)
            scores.view(m, shared, seen)[..., seen - m :].add_(mask[:m, ..., :m])
            torch.softmax(scores, -1, out=scores)
            out[start : start + m, own] = torch.mm(scores, values[:seen]).view(m, shared, p)
    return out.view(l, h * p)
