"""RMS normalization on a GPU: each row is read once."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE = 4096
"""Elements a program: narrow rows (of dt, B and C) are taken many at a time."""


@triton.jit
def rms_norm_kernel(
    x_ptr, weight_ptr, y_ptr, rows, d, x_stride, eps,
    BLOCK_ROWS: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK_ROWS whole rows."""
    row = tl.program_id(0).to(tl.int64) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)[:, None]
    column = tl.arange(0, BLOCK_D)[None]
    mask = (row < rows) & (column < d)
    x = tl.load(x_ptr + row * x_stride + column, mask=mask, other=0.0).to(tl.float32)
    mean = tl.sum(x * x, 1) / d
    y = (x * tl.rsqrt(mean + eps)[:, None]).to(y_ptr.dtype.element_ty)
    weight = tl.load(weight_ptr + column, mask=column < d, other=0.0).to(tl.float32)
    y = (y.to(tl.float32) * weight).to(y_ptr.dtype.element_ty)
    tl.store(y_ptr + row * d + column, y, mask=mask)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """As in `reference`, for x [l, d]; its rows may be slices of wider ones."""
    rows, d = x.shape
    y = torch.empty(rows, d, dtype=x.dtype, device=x.device)
    block_d = triton.next_power_of_2(d)
    block_rows = min(max(1, TILE // block_d), triton.next_power_of_2(rows))
    rms_norm_kernel[(triton.cdiv(rows, block_rows),)](
        x, weight, y, rows, d, x.stride(0), eps, BLOCK_ROWS=block_rows, BLOCK_D=block_d
    )
    return y
