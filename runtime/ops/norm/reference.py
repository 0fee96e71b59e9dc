"""RMS normalization in PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from quant.ops.quantize_rows.reference import quantize_rows
from quant.tensor import QuantRows
from runtime.ops.combine.reference import combine


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Normalizes the last dimension in fp32, rounds to x's dtype, then multiplies by weight.

    x [..., d], weight [d] -> [..., d].  The order of rounding is Llama's and Jamba's.
    """
    if x.dtype == torch.float32:  # nothing is rounded in between: fewer, cheaper calls
        square: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_()
        return (x * square.div_(x.shape[-1]).add_(eps).rsqrt_()).mul_(weight)
    y = x.float()
    y = y * torch.rsqrt(y.square().mean(-1, keepdim=True).add_(eps))
    return y.to(x.dtype).mul_(weight)


def rms_norm_rows(x: Tensor, weight: Tensor, eps: float) -> QuantRows:
    """The same, rounded to x's dtype and then to e4m3 by rows; x [l, d]."""
    return quantize_rows(rms_norm(x, weight, eps))


def add_rms_norm(
    x: Tensor, add: Tensor, weight: Tensor, eps: float, shares: Tensor | None = None
) -> Tensor:
    """x += add, in place and rounded to x's dtype; then the norm of that.

    x and add [l, d].  With shares [l, s], add is [l, s, d] and its weighted sum is added, itself
    rounded to x's dtype first.
    """
    return rms_norm(
        x.add_(add if shares is None else combine(add.flatten(0, 1), shares)), weight, eps
    )


def add_rms_norm_rows(x: Tensor, add: Tensor, weight: Tensor, eps: float) -> QuantRows:
    """The same of one sum, rounded to x's dtype and then to e4m3 by rows."""
    return quantize_rows(add_rms_norm(x, add, weight, eps))
