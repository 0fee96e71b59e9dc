"""Products of many rows in PyTorch.

int8 and nf4 quantize the weight only: it is widened to x's dtype.  fp8 rounds each token of x to
e4m3 with a scale of its own and accumulates in fp32, as the tensor cores do.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from quant.ops.dequantize.reference import dequantize
from quant.ops.quantize_rows.reference import quantize_rows
from quant.tensor import QuantRows, QuantWeight, Rows


def quantizes(w: QuantWeight | Tensor) -> bool:
    """Whether products with w quantize their activations."""
    return isinstance(w, QuantWeight) and w.scheme == "fp8"


def matmul(x: Rows, w: QuantWeight | Tensor) -> Tensor:
    """x [m, k] @ w [n, k].T -> [m, n] in x's dtype; only fp8 takes quantized rows."""
    if isinstance(w, QuantWeight) and w.scheme == "fp8":
        rows = x if isinstance(x, QuantRows) else quantize_rows(x)
        y = functional.linear(rows.codes.float(), w.codes.float())
        return y.mul_(rows.scale[:, None]).mul_(w.scale).to(rows.dtype)
    assert isinstance(x, Tensor)
    return functional.linear(x, w if isinstance(w, Tensor) else dequantize(w, x.dtype))


def grouped_matmul(x: Rows, w: QuantWeight | Tensor, ends: Tensor) -> Tensor:
    """x [s, k] sorted by expert, w [x, n, k], ends [x] (the row after each expert's) -> [s, n]."""
    out = torch.empty(x.shape[0], w.shape[-2], dtype=x.dtype, device=x.device)
    start = 0
    for expert, end in enumerate(ends.tolist()):
        if end > start:
            out[start:end] = matmul(x[start:end], w[expert])
        start = end
    return out
