"""Depthwise causal convolution over time, with the tail of the previous chunk carried in."""

from __future__ import annotations

from torch import Tensor

from quant.ops.dispatch import implementation

__all__ = ["causal_conv"]


def causal_conv(x: Tensor, tail: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Picks the implementation by device; arguments and result as in `reference`."""
    y: Tensor = implementation(__name__, x.device).causal_conv(x, tail, weight, bias)
    return y
