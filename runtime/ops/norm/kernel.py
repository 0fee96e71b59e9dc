"""RMS normalization on a GPU, alone or with the addition before it: each row is read once.

For fp8 only codes are written.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from quant.ops.overlap_kernel import overlap, wait_for_inputs
from quant.ops.quantize_rows.kernel import LONGEST, empty_rows, quantize_rows, row_codes, warps
from quant.tensor import QuantRows

TILE = 4096
"""Elements a program: narrow rows (of dt, B and C) are taken many at a time."""


@triton.jit
def normed(x, weight, d, eps, DTYPE: tl.constexpr):
    """The norm of rows [r, d] in fp32, with both roundings to the activations' dtype."""
    mean = tl.sum(x * x, 1) / d
    y = (x * tl.rsqrt(mean + eps)[:, None]).to(DTYPE)
    return (y.to(tl.float32) * weight.to(tl.float32)).to(DTYPE)


@triton.jit
def rms_norm_kernel(
    x_ptr, add_ptr, shares_ptr, weight_ptr, y_ptr, scale_ptr, rows, d, x_stride, eps,
    ADD: tl.constexpr, SHARES: tl.constexpr, CODES: tl.constexpr,
    BLOCK_ROWS: tl.constexpr, BLOCK_D: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK_ROWS whole rows; with ADD, x += add first; with CODES, y is fp8 by scale.

    SHARES is how many rows of add are weighted and summed for one of x; 0 for one as it is.
    """
    column = tl.arange(0, BLOCK_D)[None]
    weight = tl.load(weight_ptr + column, mask=column < d, other=0.0)
    wait_for_inputs(OVERLAP)
    index = tl.program_id(0).to(tl.int64) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    row = index[:, None]
    mask = (row < rows) & (column < d)
    dtype = x_ptr.dtype.element_ty
    place = x_ptr + row * x_stride + column
    x = tl.load(place, mask=mask, other=0.0).to(tl.float32)
    if ADD:
        if SHARES == 0:
            add = tl.load(add_ptr + row * d + column, mask=mask, other=0.0).to(tl.float32)
        else:
            add = tl.zeros([BLOCK_ROWS, BLOCK_D], tl.float32)
            for s in tl.static_range(SHARES):
                at = row * SHARES + s
                share = tl.load(shares_ptr + at, mask=row < rows, other=0.0).to(tl.float32)
                part = tl.load(add_ptr + at * d + column, mask=mask, other=0.0)
                add += part.to(tl.float32) * share
            add = add.to(dtype).to(tl.float32)
        rounded = (x + add).to(dtype)
        tl.store(place, rounded, mask=mask)
        x = rounded.to(tl.float32)  # the norm is of what was stored, as without the fusion
    y = normed(x, weight, d, eps, dtype)
    if CODES:
        codes, scale = row_codes(y.to(tl.float32))
        tl.store(y_ptr + row * d + column, codes.to(y_ptr.dtype.element_ty), mask=mask)
        tl.store(scale_ptr + index, scale, mask=index < rows)
    else:
        tl.store(y_ptr + row * d + column, y, mask=mask)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """As in `reference`, for x [l, d]; its rows may be slices of wider ones."""
    return _wide(x, None, weight, eps, None)


def rms_norm_rows(x: Tensor, weight: Tensor, eps: float) -> QuantRows:
    """As in `reference`; rows that a program can't hold go by way of memory."""
    return _codes(x, None, weight, eps)


def add_rms_norm(
    x: Tensor, add: Tensor, weight: Tensor, eps: float, shares: Tensor | None = None
) -> Tensor:
    """As in `reference`, in one pass over memory; rows of x may be slices of wider ones."""
    return _wide(x, add, weight, eps, shares)


def add_rms_norm_rows(x: Tensor, add: Tensor, weight: Tensor, eps: float) -> QuantRows:
    """As in `reference`; rows that a program can't hold go by way of memory."""
    return _codes(x, add, weight, eps)


def _wide(
    x: Tensor, add: Tensor | None, weight: Tensor, eps: float, shares: Tensor | None
) -> Tensor:
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    _launch(x, add, shares, weight, eps, y, None)
    return y


def _codes(x: Tensor, add: Tensor | None, weight: Tensor, eps: float) -> QuantRows:
    rows, d = x.shape
    if d > LONGEST:
        return quantize_rows(_wide(x, add, weight, eps, None))
    y = empty_rows(rows, d, x)
    _launch(x, add, None, weight, eps, y.codes, y.scale)
    return y


def _launch(
    x: Tensor, add: Tensor | None, shares: Tensor | None, weight: Tensor, eps: float,
    y: Tensor, scale: Tensor | None,
) -> None:  # fmt: skip
    rows, d = x.shape
    block_d = triton.next_power_of_2(d)
    block_rows = min(max(1, TILE // block_d), triton.next_power_of_2(rows))
    rms_norm_kernel[(triton.cdiv(rows, block_rows),)](
        x, None if add is None else add.contiguous(), shares, weight, y, scale,
        rows, d, x.stride(0), eps,
        ADD=add is not None,
        SHARES=0 if shares is None else shares.shape[1],
        CODES=scale is not None,
        BLOCK_ROWS=block_rows,
        BLOCK_D=block_d,
        num_warps=max(4, warps(block_d)),
        **overlap(x.device),
    )  # fmt: skip
