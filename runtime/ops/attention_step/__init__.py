"""Attention of one new token, appended to the cache first, at a position the device holds."""

from __future__ import annotations

from torch import Tensor

from quant.ops.dispatch import implementation

__all__ = ["attention_step"]


def attention_step(heads: Tensor, k: Tensor, v: Tensor, position: Tensor) -> Tensor:
    """Picks the implementation by device; arguments and result as in `reference`."""
    way = implementation(__name__, heads.device)
    out: Tensor = way.attention_step(heads, k, v, position)
    return out
