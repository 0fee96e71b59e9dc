"""Dequantization on a GPU: codes in, 16-bit weights out, nothing in between."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from quant.ops import nf4
from quant.ops.gemv.kernel import levels
from quant.tensor import QuantWeight

BLOCK_K = 2048
"""Weights of a row a program: 16 for each of 128 lanes."""


@triton.jit
def dequantize_kernel(codes_ptr, scale_ptr, y_ptr, k, BLOCK_K: tl.constexpr):
    """One program: BLOCK_K weights of one row."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK_K + tl.arange(0, BLOCK_K)
    codes = tl.load(codes_ptr + row * k + at, mask=at < k, other=0.0)
    y = codes.to(tl.float32) * tl.load(scale_ptr + row)
    tl.store(y_ptr + row * k + at, y.to(y_ptr.dtype.element_ty), mask=at < k)


@triton.jit
def dequantize_nf4_kernel(
    codes_ptr, scale_ptr, levels_ptr, y_ptr, k, GROUP: tl.constexpr, BLOCK_K: tl.constexpr
):
    """As above for pairs of codes in a byte and a scale for each GROUP of weights."""
    row = tl.program_id(0).to(tl.int64)
    GROUPS: tl.constexpr = BLOCK_K // GROUP
    groups = k // GROUP
    group = tl.program_id(1) * GROUPS + tl.arange(0, GROUPS)
    place = row * groups + group
    mask = (group < groups)[:, None]
    pair = place[:, None] * (GROUP // 2) + tl.arange(0, GROUP // 2)[None]
    codes = tl.load(codes_ptr + pair, mask=mask, other=0.0).to(tl.int32)
    scale = tl.load(scale_ptr + place, mask=group < groups, other=0.0).to(tl.float32)[:, None]
    high = tl.load(levels_ptr + (codes >> 4)) * scale
    low = tl.load(levels_ptr + (codes & 15)) * scale
    y = tl.reshape(tl.join(high, low), [GROUPS, GROUP])
    element = place[:, None] * GROUP + tl.arange(0, GROUP)[None]
    tl.store(y_ptr + element, y.to(y_ptr.dtype.element_ty), mask=mask)


def dequantize(w: QuantWeight, dtype: torch.dtype, out: Tensor | None = None) -> Tensor:
    """As in `reference`."""
    k = w.shape[-1]
    y = torch.empty(w.shape, dtype=dtype, device=w.codes.device) if out is None else out
    if not y.is_contiguous():
        return y.copy_(dequantize(w, dtype))
    grid = (y.numel() // k, triton.cdiv(k, BLOCK_K))
    if w.scheme == "nf4":
        dequantize_nf4_kernel[grid](
            w.codes, w.scale, levels(y.device), y, k, GROUP=nf4.BLOCK_SIZE, BLOCK_K=BLOCK_K
        )
    else:
        dequantize_kernel[grid](w.codes, w.scale, y, k, BLOCK_K=BLOCK_K)
    return y
