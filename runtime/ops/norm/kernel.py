"""RMS normalization on a GPU: each row is read once; for fp8 only codes are written."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from quant.ops.quantize_rows.kernel import LONGEST, empty_rows, quantize_rows, row_codes, warps
from quant.tensor import QuantRows

TILE = 4096
"""Elements a program: narrow rows (of dt, B and C) are taken many at a time."""


@triton.jit
def rms_norm_kernel(
    x_ptr, weight_ptr, y_ptr, scale_ptr, rows, d, x_stride, eps,
    CODES: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK_ROWS whole rows; with CODES, y and scale are those of fp8."""
    index = tl.program_id(0).to(tl.int64) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    row = index[:, None]
    column = tl.arange(0, BLOCK_D)[None]
    mask = (row < rows) & (column < d)
    dtype = x_ptr.dtype.element_ty
    # Asked for before x, which is waited for.
    weight = tl.load(weight_ptr + column, mask=column < d, other=0.0).to(tl.float32)
    x = tl.load(x_ptr + row * x_stride + column, mask=mask, other=0.0).to(tl.float32)
    mean = tl.sum(x * x, 1) / d
    y = (x * tl.rsqrt(mean + eps)[:, None]).to(dtype).to(tl.float32)
    y = (y * weight).to(dtype)
    if CODES:
        codes, scale = row_codes(y.to(tl.float32))
        tl.store(y_ptr + row * d + column, codes.to(y_ptr.dtype.element_ty), mask=mask)
        tl.store(scale_ptr + index, scale, mask=index < rows)
    else:
        tl.store(y_ptr + row * d + column, y, mask=mask)


def _launch(x: Tensor, weight: Tensor, eps: float, y: Tensor, scale: Tensor | None) -> None:
    rows, d = x.shape
    block_d = triton.next_power_of_2(d)
    block_rows = min(max(1, TILE // block_d), triton.next_power_of_2(rows))
    rms_norm_kernel[(triton.cdiv(rows, block_rows),)](
        x, weight, y, y if scale is None else scale, rows, d, x.stride(0), eps,
        CODES=scale is not None,
        BLOCK_ROWS=block_rows,
        BLOCK_D=block_d,
        num_warps=max(4, warps(block_d)),
    )  # fmt: skip


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """As in `reference`, for x [l, d]; its rows may be slices of wider ones."""
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    _launch(x, weight, eps, y, None)
    return y


def rms_norm_rows(x: Tensor, weight: Tensor, eps: float) -> QuantRows:
    """As in `reference`; rows that a program can't hold go by way of memory."""
    if x.shape[1] > LONGEST:
        return quantize_rows(rms_norm(x, weight, eps))
    rows, d = x.shape
    y = empty_rows(rows, d, x)
    _launch(x, weight, eps, y.codes, y.scale)
    return y
