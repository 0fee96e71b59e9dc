"""Products of int8 by int8 on a CPU, summed in int32 without rounding.

Each row of x is rounded to int8 with a scale of its own: a token's result hangs on no other's.
oneDNN's product reads the codes as they are stored; there is no second, packed copy of the weight.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from quant.ops import int8
from quant.tensor import QuantWeight

BLOCK_ELEMENTS = 3 << 17
"""Sums taken at once, 1.5 MiB: what lies between the passes over them stays in the L2 caches."""

BLOCK_ROWS = 128
"""The least rows of a block: fewer do not reach the full rate."""


@cache
def multiplies_int8() -> bool:
    """Whether this CPU multiplies int8 at twice the rate of 16 bits, by AVX512-VNNI or AMX.

    Without them the same numbers are multiplied in fp32, which is no faster than plain weights.
    """
    units = torch.cpu._is_vnni_supported() or torch.cpu._is_amx_tile_supported()
    return units and torch.backends.mkldnn.is_available() and hasattr(torch, "_int_mm")


def takes(w: object) -> bool:
    """Whether products with a weight, of few rows and of many, are computed here."""
    return isinstance(w, QuantWeight) and w.scheme == "w8a8"


def matmul(x: Tensor, w: QuantWeight) -> Tensor:
    """x [m, k] @ w [n, k].T -> [m, n] in x's dtype."""
    (m, _), (n, _) = x.shape, w.shape
    block = max(BLOCK_ROWS, BLOCK_ELEMENTS // n)
    out = torch.empty(m, n, dtype=x.dtype)
    for rows, result in zip(x.split(block), out.split(block), strict=True):
        codes, scale = int8.quantize(rows)
        torch.mul(_sums(codes, w.codes).mul_(w.scale), scale[:, None], out=result)
    return out


def _sums(x: Tensor, w: Tensor) -> Tensor:
    """Codes [m, k] and [n, k] -> fp32 [m, n]."""
    if not multiplies_int8():
        return functional.linear(x.float(), w.float())
    sums = torch._int_mm(x, w.t())
    return sums.view(torch.float32).copy_(sums)  # in place: each element at its own address
