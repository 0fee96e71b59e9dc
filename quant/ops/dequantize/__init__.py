"""From codes back to weights."""

from __future__ import annotations

import torch
from torch import Tensor

from quant.ops.dispatch import implementation
from quant.tensor import QuantWeight

__all__ = ["dequantize"]


def dequantize(w: QuantWeight, dtype: torch.dtype, out: Tensor | None = None) -> Tensor:
    """The weight [..., n, k] in `dtype`, written to `out` where it is given."""
    result: Tensor = implementation(__name__, w.codes.device).dequantize(w, dtype, out)
    return result
