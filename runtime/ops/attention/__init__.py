"""Attention of a chunk of new tokens over everything read so far, causal, without positions."""

from __future__ import annotations

from torch import Tensor

from quant.ops.dispatch import implementation

__all__ = ["attention"]


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Picks the implementation by device; arguments and result as in `reference`."""
    out: Tensor = implementation(__name__, q.device).attention(q, k, v)
    return out
