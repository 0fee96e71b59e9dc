"""Attention by one masked product for each slice of queries: any device, any dtype."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

MASK_ELEMENTS = 1 << 24
"""Elements of the largest mask: a long context is attended by slices of queries."""


def attention(q: Tensor, k: Tensor, v: Tensor, _products: torch.dtype | None = None) -> Tensor:
    """Softmax attention where the last query sees all keys, the one before all but one, ...

    q [l, h, p]; k, v [k, t, p] with t >= l, their last l the queries' own; h a multiple of
    k -> [l, h * p].  The scale is p ** -0.5.  The last argument is what products may be computed
    in where q is wider, for a CPU with 16-bit units: here they are in q's dtype.
    """
    l, h, p = q.shape
    heads, t, _ = k.shape
    if l == 1:  # the query heads that share a key head become its rows: no mask, no copies
        rows = q.reshape(heads, h // heads, p)
        return functional.scaled_dot_product_attention(rows, k, v).reshape(1, h * p)
    out = torch.empty(l, h * p, dtype=q.dtype, device=q.device)
    step = max(1, MASK_ELEMENTS // t)
    for start in range(0, l, step):
        end = min(start + step, l)
        seen = t - l + end  # keys that the slice's last query sees
        mask = torch.ones(end - start, seen, dtype=torch.bool, device=q.device)
        mask = mask.tril_(seen - (end - start))
        part = functional.scaled_dot_product_attention(
            q[None, start:end].transpose(1, 2),  # [1, h, l, p]
            k[None, :, :seen],
            v[None, :, :seen],
            attn_mask=mask,
            enable_gqa=True,
        )
        out[start:end] = part[0].transpose(0, 1).reshape(end - start, h * p)
    return out
