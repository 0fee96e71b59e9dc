"""Dequantization in PyTorch, computed in fp32 and rounded once."""

from __future__ import annotations

import torch
from torch import Tensor

from quant.ops import fp8, int8, nf4
from quant.tensor import QuantWeight

_INVERSE = {
    "int8": int8.dequantize,
    "fp8": fp8.dequantize,
    "nf4": nf4.dequantize,
    "w8a8": int8.dequantize,
}


def dequantize(w: QuantWeight, dtype: torch.dtype, out: Tensor | None = None) -> Tensor:
    """The weight [..., n, k] in `dtype`, written to `out` (of that dtype) where it is given."""
    result = _INVERSE[w.scheme](w.codes, w.scale, dtype)
    return result if out is None else out.copy_(result)
