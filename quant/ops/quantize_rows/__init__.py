"""Activations to fp8, one scale a token."""

from __future__ import annotations

from torch import Tensor

from quant.ops.dispatch import implementation
from quant.tensor import QuantRows

__all__ = ["quantize_rows"]


def quantize_rows(x: Tensor) -> QuantRows:
    """x [m, k] -> its rows in e4m3; a row sees nothing of others."""
    rows: QuantRows = implementation(__name__, x.device).quantize_rows(x)
    return rows
