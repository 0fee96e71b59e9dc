"""Activation quantization on a GPU: one program a row, which it reads twice, from cache then."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from quant.ops import fp8

BLOCK_K = 4096

TINY = torch.finfo(torch.float32).tiny


@triton.jit
def quantize_rows_kernel(
    x_ptr, codes_ptr, scale_ptr, k, x_stride,
    LARGEST: tl.constexpr, TINY: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """One program: the largest of a row, then its codes."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK_K)
    largest = tl.zeros([BLOCK_K], tl.float32)
    for start in range(0, k, BLOCK_K):
        at = start + column
        x = tl.load(x_ptr + row * x_stride + at, mask=at < k, other=0.0).to(tl.float32)
        largest = tl.maximum(largest, tl.abs(x))
    top = tl.maximum(tl.max(largest, 0), TINY)
    # Divisions as IEEE rounds them: a code at an edge is the reference's.
    scale = tl.maximum(tl.div_rn(top, LARGEST), TINY)
    tl.store(scale_ptr + row, scale)
    for start in range(0, k, BLOCK_K):
        at = start + column
        x = tl.load(x_ptr + row * x_stride + at, mask=at < k, other=0.0).to(tl.float32)
        scaled = tl.div_rn(x, scale + tl.zeros_like(x))
        scaled = tl.minimum(tl.maximum(scaled, -LARGEST), LARGEST)
        tl.store(codes_ptr + row * k + at, scaled.to(codes_ptr.dtype.element_ty), mask=at < k)


def quantize_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """As in `reference`; rows of x may be slices of wider ones."""
    m, k = x.shape
    codes = torch.empty(m, k, dtype=torch.float8_e4m3fn, device=x.device)
    scale = torch.empty(m, dtype=torch.float32, device=x.device)
    quantize_rows_kernel[(m,)](
        x, codes, scale, k, x.stride(0), LARGEST=fp8.LARGEST, TINY=TINY, BLOCK_K=BLOCK_K
    )
    return codes, scale
