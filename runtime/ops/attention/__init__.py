"""Attention of a chunk of new tokens over everything read so far, causal, without positions."""

from __future__ import annotations

import torch
from torch import Tensor

from quant.ops.dispatch import implementation
from runtime.ops.attention import narrow

__all__ = ["attention"]


def attention(q: Tensor, k: Tensor, v: Tensor, products: torch.dtype | None = None) -> Tensor:
    """Picks the implementation by device; arguments and result as in `reference`.

    `products` is what products may be computed in where q is wider, as on a CPU with 16-bit units.
    """
    if products not in (None, q.dtype) and narrow.takes(q, k):
        return narrow.attention(q, k, v, products)
    out: Tensor = implementation(__name__, q.device).attention(q, k, v)
    return out
