"""Products of many rows, bound by arithmetic.

int8 and nf4 dequantize the weight and use 16-bit products; fp8 also quantizes each token, unless
what made the activations did.  w8a8 takes few rows too, and only on a CPU.
"""

from __future__ import annotations

from torch import Tensor

from quant.ops.matmul import reference, scaled, w8a8
from quant.tensor import QuantWeight, Rows

__all__ = ["grouped_matmul", "matmul", "quantizes"]


def quantizes(w: QuantWeight | Tensor) -> bool:
    """Whether these products quantize their activations: who makes them may do it instead."""
    if w.device.type == "cuda":
        return scaled.quantizes(w)
    return reference.quantizes(w)


def matmul(x: Rows, w: QuantWeight) -> Tensor:
    """x [m, k] @ w [n, k].T -> [m, n] in x's dtype, by the device's way."""
    if w8a8.takes(w):
        assert isinstance(x, Tensor)
        return w8a8.matmul(x, w)
    result: Tensor = (scaled if x.device.type == "cuda" else reference).matmul(x, w)
    return result


def grouped_matmul(x: Rows, w: QuantWeight | Tensor, ends: Tensor) -> Tensor:
    """x [s, k] sorted by expert, w [x, n, k], ends [x] (the row after each expert's) -> [s, n]."""
    way = scaled if x.device.type == "cuda" else reference
    result: Tensor = way.grouped_matmul(x, w, ends)
    return result
