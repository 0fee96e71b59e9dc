"""Activation quantization on a GPU: a row is read once and held in registers."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from quant.ops import fp8
from quant.ops.quantize_rows import reference
from quant.tensor import QuantRows

LONGEST = 32_768
"""Columns of a row that a program holds: 32 for each of the most lanes that there can be."""

LANES_A_WARP, COLUMNS_A_LANE = 32, 32

LARGEST = tl.constexpr(fp8.LARGEST)
TINY = tl.constexpr(torch.finfo(torch.float32).tiny)


@triton.jit
def row_codes(x):
    """x [rows, columns] fp32 -> the quotients that round to its codes, and the scales [rows].

    The quotients are those of IEEE division, whose own sequence takes three times as long: a
    code at an edge is the reference's.
    """
    top = tl.maximum(tl.max(tl.abs(x), 1), TINY)
    scale = tl.maximum(tl.div_rn(top, LARGEST + tl.zeros_like(top)), TINY)
    inverse = tl.div_rn(1.0 + tl.zeros_like(scale), scale)[:, None] + tl.zeros_like(x)
    against = -scale[:, None] + tl.zeros_like(x)
    quotient = x * inverse
    for _ in tl.static_range(2):  # Newton's steps: the second rounds as division does
        quotient = tl.fma(tl.fma(quotient, against, x), inverse, quotient)
    return quotient, scale


@triton.jit
def quantize_rows_kernel(x_ptr, codes_ptr, scale_ptr, k, x_stride, BLOCK_K: tl.constexpr):
    """One program: a row."""
    row = tl.program_id(0).to(tl.int64) + tl.arange(0, 1)
    column = tl.arange(0, BLOCK_K)[None]
    mask = column < k
    x = tl.load(x_ptr + row[:, None] * x_stride + column, mask=mask, other=0.0).to(tl.float32)
    codes, scale = row_codes(x)
    place = codes_ptr + row[:, None] * k + column
    tl.store(place, codes.to(codes_ptr.dtype.element_ty), mask=mask)
    tl.store(scale_ptr + row, scale)


def empty_rows(m: int, k: int, x: Tensor) -> QuantRows:
    """Memory for the codes of m rows that are made of x, not filled."""
    codes = torch.empty(m, k, dtype=torch.float8_e4m3fn, device=x.device)
    return QuantRows(codes, torch.empty(m, dtype=torch.float32, device=x.device), x.dtype)


def warps(block: int) -> int:
    """Warps that hold `block` columns, up to `LONGEST`, in their registers."""
    return max(1, block // (LANES_A_WARP * COLUMNS_A_LANE))


def quantize_rows(x: Tensor) -> QuantRows:
    """As in `reference`, which longer rows are left to; rows of x may be slices of wider ones."""
    m, k = x.shape
    if k > LONGEST:
        return reference.quantize_rows(x)
    y = empty_rows(m, k, x)
    block = triton.next_power_of_2(k)
    quantize_rows_kernel[(m,)](
        x, y.codes, y.scale, k, x.stride(0), BLOCK_K=block, num_warps=warps(block)
    )
    return y
