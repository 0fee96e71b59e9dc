"""Products of many rows in PyTorch.

int8 and nf4 quantize the weight only: it is widened to x's dtype.  fp8 rounds each token of x to
e4m3 with a scale of its own and accumulates in fp32, as the tensor cores do.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from quant.ops.dequantize.reference import dequantize
from quant.ops.quantize_rows.reference import quantize_rows
from quant.tensor import QuantWeight


def matmul(x: Tensor, w: QuantWeight | Tensor) -> Tensor:
    """x [m, k] @ w [n, k].T -> [m, n] in x's dtype."""
    if isinstance(w, Tensor):
        return functional.linear(x, w)
    if w.scheme != "fp8":
        return functional.linear(x, dequantize(w, x.dtype))
    codes, scale = quantize_rows(x)
    y = functional.linear(codes.float(), w.codes.float())
    return y.mul_(scale[:, None]).mul_(w.scale).to(x.dtype)


def grouped_matmul(x: Tensor, w: QuantWeight | Tensor, ends: Tensor) -> Tensor:
    """x [s, k] sorted by expert, w [x, n, k], ends [x] (the row after each expert's) -> [s, n]."""
    out = x.new_empty(x.shape[0], w.shape[-2])
    start = 0
    for expert, end in enumerate(ends.tolist()):
        if end > start:
            out[start:end] = matmul(x[start:end], w[expert])
        start = end
    return out
