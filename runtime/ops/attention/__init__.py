"""Attention of a chunk of new tokens over everything read so far, causal, without positions."""

from __future__ import annotations

import torch
from torch import Tensor

from quant.ops.dispatch import implementation

__all__ = ["attention"]


def attention(q: Tensor, k: Tensor, v: Tensor, products: torch.dtype | None = None) -> Tensor:
    """Picks the implementation by device; arguments and result as in `reference`."""
    out: Tensor = implementation(__name__, q.device).attention(q, k, v, products)
    return out
