"""From codes back to weights."""

from __future__ import annotations

import torch
from torch import Tensor

from quant.ops import bnb
from quant.ops.dequantize import reference
from quant.ops.dispatch import implementation
from quant.tensor import QuantWeight

__all__ = ["dequantize"]


def dequantize(w: QuantWeight, dtype: torch.dtype, out: Tensor | None = None) -> Tensor:
    """The weight [..., n, k] in `dtype`, written to `out` where it is given."""
    way = implementation(__name__, w.codes.device)
    nf4 = w.scheme == "nf4" and w.scale.dtype == torch.float32
    if way is reference and w.codes.device.type == "cuda" and nf4 and bnb.installed():
        weight = bnb.dequantize(w, dtype)
        return weight if out is None else out.copy_(weight)
    result: Tensor = way.dequantize(w, dtype, out)
    return result
