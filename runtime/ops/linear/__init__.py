"""Matrix products with weights that may be stored narrower than the activations, or quantized."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from quant.linear import FEW_ROWS, product
from quant.tensor import QuantWeight, Rows

Weight = Tensor | QuantWeight


@lru_cache(maxsize=1)
def wide_dtype() -> torch.dtype:
    """What this CPU computes products of many rows in: bf16 where it has units for that, else fp32.

    Such units (AVX512-BF16, AMX) give four times fp32's rate and add up in fp32.
    """
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if fast else torch.float32


def widened(weight: Tensor, x: Tensor) -> Tensor:
    """A 16-bit weight as products with many rows of x take it, for more than one of them."""
    return weight if weight.dtype == x.dtype else weight.to(wide_dtype())


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
    many = x.dtype if exact else wide_dtype()
    dtype = weight.dtype if x.shape[0] <= FEW_ROWS else many
    y = functional.linear(x.to(dtype), weight.to(dtype)).to(x.dtype)
    return y if bias is None else y.add_(bias)
