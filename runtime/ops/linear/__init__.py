"""Matrix products with weights that may be stored narrower than the activations, or quantized."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from quant.linear import FEW_ROWS, product
from quant.tensor import QuantWeight

Weight = Tensor | QuantWeight


def linear(
    x: Tensor, weight: Weight, bias: Tensor | None = None, *, few: bool | None = None
) -> Tensor:
    """x [l, k] @ weight [n, k].T (+ bias [n]) -> [l, n] in x's dtype.

    With fp32 activations and 16-bit weights (the CPU's way): few rows are rounded to the
    weight's dtype so that half the bytes are read; many rows widen the weight and use the fp32
    product, which CPUs without 16-bit matrix units do 6 times faster.  `few` decides in the place
    of the rows for quantized weights.
    """
    if isinstance(weight, QuantWeight):
        return product(x, weight, bias, few=few)
    if weight.dtype == x.dtype:
        return functional.linear(x, weight, bias)
    if x.shape[0] <= FEW_ROWS:
        y = functional.linear(x.to(weight.dtype), weight).to(x.dtype)
    else:
        y = functional.linear(x, weight.to(x.dtype))
    return y if bias is None else y.add_(bias)
