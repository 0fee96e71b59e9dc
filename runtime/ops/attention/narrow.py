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


def _width(seen: int) -> int:
    """Keys that a block is multiplied with: up to a quarter more than it sees, seldom a new number.

    oneDNN compiles kernels of some hundred kilobytes for every number.
    """
    step = max(BLOCK_QUERIES, 1 << max(0, (seen - 1).bit_length() - 3))
    return -(-seen // step) * step


def _block(q: Tensor, k: Tensor) -> int:
    heads, t, _ = k.shape
    most = SCORES * heads // (q.shape[1] * t)
    return min(BLOCK_QUERIES, q.shape[0], 1 << most.bit_length() - 1) if most else 0


def attention(q: Tensor, k: Tensor, v: Tensor, dtype: torch.dtype) -> Tensor:
    """As in `reference`, with products in `dtype`; the result is in q's."""
    (l, h, p), (heads, t, _) = q.shape, k.shape
    shared, block = h // heads, _block(q, k)
    # Of a block's own keys, those after a query.
    mask = torch.full((block, block), -torch.inf, dtype=dtype).triu_(1)[:, None]
    keys, values = torch.zeros(2, _width(t), p, dtype=dtype)
    room = torch.empty(shared * block * len(keys), dtype=dtype)
    out = torch.empty(l, h, p, dtype=q.dtype)
    for head in range(heads):
        keys[:t], values[:t] = k[head], v[head]
        own = slice(head * shared, (head + 1) * shared)
        for start in range(0, l, block):
            rows = q[start : start + block, own]
            m = rows.shape[0]
            seen = t - l + start + m
            width = _width(seen)
            scores = room[: m * shared * width].view(m * shared, width)
            scaled = (rows * p**-0.5).to(dtype).view(m * shared, p)
            torch.mm(scaled, keys[:width].t(), out=scores)
            scores.view(m, shared, width)[..., seen - m : seen].add_(mask[:m, ..., :m])
            scores[:, seen:].fill_(-torch.inf)
            torch.softmax(scores, -1, out=scores)
            out[start : start + m, own] = torch.mm(scores, values[:width]).view(m, shared, p)
    return out.view(l, h * p)
