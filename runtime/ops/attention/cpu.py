"""Attention on a CPU: what lies before the chunk without a mask, the chunk itself causally.

The two parts are merged by their log-sum-exps.  Nothing is computed only to be masked away, and
the query heads that share a key head become rows of one product instead of copies of the keys.
"""

from __future__ import annotations

import torch
from torch import Tensor

from runtime.ops.attention import narrow


def attention(q: Tensor, k: Tensor, v: Tensor, products: torch.dtype | None = None) -> Tensor:
    """As in `reference`: the same arguments, the same result within rounding."""
    if products not in (None, q.dtype) and narrow.takes(q, k):
        return narrow.attention(q, k, v, products)
    l, h, p = q.shape
    heads, t, _ = k.shape
    past, shared = t - l, h // heads
    queries = q.transpose(0, 1).contiguous()  # [h, l, p]
    if l == 1:
        out, _ = _flash(queries.view(heads, shared, p), k, v, causal=False)
        return out.reshape(1, h * p)
    own_k, own_v = (x[:, past:].repeat_interleave(shared, 0) for x in (k, v))
    out, own = _flash(queries, own_k, own_v, causal=True)
    if past:
        rows = queries.view(heads, shared * l, p)
        before, prior = _flash(rows, k[:, :past], v[:, :past], causal=False)
        share = torch.sigmoid(prior.reshape(h, l) - own)  # of the past in the whole softmax
        out = torch.lerp(out, before.reshape(h, l, p), share[..., None])
    return out.transpose(0, 1).reshape(l, h * p)


def _flash(q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> tuple[Tensor, Tensor]:
    """q [b, l, p], k and v [b, t, p] -> the attention [b, l, p] and its log-sum-exp [b, l]."""
    out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        q[None], k[None], v[None], 0.0, causal
    )
    return out[0], lse[0]
