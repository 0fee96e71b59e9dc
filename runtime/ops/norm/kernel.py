"""RMS normalization on a GPU, alone or with the addition before it: each row is read once."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE = 4096
"""Elements a program: narrow rows (of dt, B and C) are taken many at a time."""


@triton.jit
def rms_norm_kernel(
    x_ptr, add_ptr, shares_ptr, weight_ptr, y_ptr, rows, d, x_stride, eps,
    ADD: tl.constexpr, SHARES: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK_ROWS whole rows; with ADD, x += add first.

    SHARES is how many rows of add are weighted and summed for one of x; 0 for one as it is.
    """
    row = tl.program_id(0).to(tl.int64) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)[:, None]
    column = tl.arange(0, BLOCK_D)[None]
    mask = (row < rows) & (column < d)
    place = x_ptr + row * x_stride + column
    x = tl.load(place, mask=mask, other=0.0).to(tl.float32)
    # Before the sum along the row, behind which it would be waited for once more.
    weight = tl.load(weight_ptr + column, mask=column < d, other=0.0)
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
            add = add.to(x_ptr.dtype.element_ty).to(tl.float32)
        rounded = (x + add).to(x_ptr.dtype.element_ty)
        tl.store(place, rounded, mask=mask)
        x = rounded.to(tl.float32)  # the norm is of what was stored, as without the fusion
    mean = tl.sum(x * x, 1) / d
    y = (x * tl.rsqrt(mean + eps)[:, None]).to(y_ptr.dtype.element_ty)
    y = (y.to(tl.float32) * weight.to(tl.float32)).to(y_ptr.dtype.element_ty)
    tl.store(y_ptr + row * d + column, y, mask=mask)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """As in `reference`, for x [l, d]; its rows may be slices of wider ones."""
    return _launch(x, None, weight, eps, None)


def add_rms_norm(
    x: Tensor, add: Tensor, weight: Tensor, eps: float, shares: Tensor | None = None
) -> Tensor:
    """As in `reference`, in one pass over memory; rows of x may be slices of wider ones."""
    return _launch(x, add.contiguous(), weight, eps, shares)


def _launch(
    x: Tensor, add: Tensor | None, weight: Tensor, eps: float, shares: Tensor | None
) -> Tensor:
    rows, d = x.shape
    y = torch.empty(rows, d, dtype=x.dtype, device=x.device)
    block_d = triton.next_power_of_2(d)
    block_rows = min(max(1, TILE // block_d), triton.next_power_of_2(rows))
    rms_norm_kernel[(triton.cdiv(rows, block_rows),)](
        x, add, shares, weight, y, rows, d, x.stride(0), eps,
        ADD=add is not None,
        SHARES=0 if shares is None else shares.shape[1],
        BLOCK_ROWS=block_rows,
        BLOCK_D=block_d,
    )  # fmt: skip
    return y
