"""Matrix products with weights that may be stored narrower than the activations, or quantized."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from quant.linear import FEW_ROWS, product
from quant.ops.matmul import w8a8
from quant.tensor import QuantWeight, Rows

Weight = Tensor | QuantWeight


@lru_cache(maxsize=1)
def wide_dtype() -> torch.dtype:
    """What this CPU computes products of many rows in: bf16 where it has units for that, else fp32.

    Such units (AVX512-BF16, AMX) give four times fp32's rate and add up in fp32.
    """
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if fast else torch.float32


CONVERTED_AT_ONCE = 1 << 20
"""Elements of the largest fp32 block between fp16 and bf16: 4 MiB, which the L3 cache holds."""


def products_in(weight: Weight, x: Tensor) -> torch.dtype:
    """What products of many rows of x with a weight are computed in, those of attention too."""
    if w8a8.takes(weight):
        return wide_dtype()
    if isinstance(weight, QuantWeight) or weight.dtype == x.dtype:
        return x.dtype
    return wide_dtype()


def widened(weight: Tensor, x: Tensor) -> Tensor:
    """A 16-bit weight as products with many rows of x take it, for more than one of them."""
    return converted(weight, products_in(weight, x))


def converted(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """weight.to(dtype), the same bits.

    From fp16 to bf16 it goes by way of fp32, block by block: PyTorch's own conversion between the
    two takes one element at a time, five times as long.
    """
    if (weight.dtype, dtype) != (torch.float16, torch.bfloat16) or not weight.is_contiguous():
        return weight.to(dtype)
    out = torch.empty_like(weight, dtype=dtype)
    blocks = (each.view(-1).split(CONVERTED_AT_ONCE) for each in (weight, out))
    for block, target in zip(*blocks, strict=True):
        target.copy_(block.float())
    return out


def linear(
    x: Rows,
    weight: Weight,
    bias: Tensor | None = None,
    *,
    exact: bool = False,
    few: bool | None = None,
) -> Tensor:
    """x [l, k] @ weight [n, k].T (+ bias [n]) -> [l, n] in x's dtype.

    With fp32 activations and 16-bit weights (the CPU's way): few rows are rounded to the
    weight's dtype so that half the bytes are read; many rows are computed in `wide_dtype`, or in
    fp32 if `exact`.  `few` decides in the place of the rows for quantized weights.  x is quantized
    only where `takes_codes`.
    """
    if isinstance(weight, QuantWeight):
        return product(x, weight, bias, few=few)
    assert isinstance(x, Tensor)
    if weight.dtype == x.dtype:
        return functional.linear(x, weight, bias)
    many = x.dtype if exact else products_in(weight, x)
    dtype = weight.dtype if x.shape[0] <= FEW_ROWS else many
    y = functional.linear(x.to(dtype), converted(weight, dtype)).to(x.dtype)
    return y if bias is None else y.add_(bias)
