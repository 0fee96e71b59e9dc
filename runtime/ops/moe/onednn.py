"""A feed-forward on a CPU with 16-bit units: oneDNN's products apply the gate where they add up.

Gates and ups are not rounded before they are multiplied, nor written to memory in between; so it
is both nearer to fp32 and faster than products, casts and gate one by one.  Kernels are compiled
for every number of rows, so it is not for what a router picks, which is always another number.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from quant.linear import FEW_ROWS
from quant.tensor import QuantWeight, Rows
from runtime.ops.linear import Weight, products_in

BLOCK_ROWS = 512
"""Rows that are taken through at once, so that what lies between stays in cache."""


@cache
def _product() -> Any | None:
    """What PyTorch's compiler calls for a product with something after it; None if not built in."""
    if not torch.backends.mkldnn.is_available():
        return None
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def takes(x: Rows, gate_up: Weight, down: Weight) -> bool:
    """Whether products of these rows are in bf16, of wider activations, and oneDNN is there."""
    if not isinstance(x, Tensor) or x.device.type != "cpu" or x.shape[0] <= FEW_ROWS:
        return False
    if isinstance(gate_up, QuantWeight) or isinstance(down, QuantWeight):
        return False
    narrow = all(products_in(weight, x) == torch.bfloat16 != x.dtype for weight in (gate_up, down))
    return narrow and _product() is not None


def swiglu(x: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """down(silu(gate(x)) * up(x)) in x's dtype; gate_up [2f, d] and down [d, f] in bf16."""
    product: Any = _product()
    gate, up = gate_up.chunk(2)
    out = torch.empty(x.shape[0], down.shape[0], dtype=x.dtype)
    for rows, result in zip(x.split(BLOCK_ROWS), out.split(BLOCK_ROWS), strict=True):
        narrow = rows.to(gate.dtype)
        gates = product(narrow, gate, None, "swish", [], "")
        gated = product.binary(narrow, gates, up, None, "mul")
        result.copy_(functional.linear(gated, down))
    return out
