"""Activations to fp8, one scale a token."""

from __future__ import annotations

from torch import Tensor

from quant.ops.dispatch import implementation

__all__ = ["quantize_rows"]


def quantize_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """x [m, k] -> codes float8_e4m3fn [m, k] and scale fp32 [m]; a row sees nothing of others."""
    codes, scale = implementation(__name__, x.device).quantize_rows(x)
    return codes, scale
