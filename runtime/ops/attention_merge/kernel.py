"""The merge of two attentions on a GPU: each is read once, the result is written over the first."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def merge_kernel(
    out_ptr, lse_ptr, other_ptr, other_lse_ptr, l, h, p,
    out_row, out_head, other_row, other_head, lse_head, other_lse_head,
    BLOCK_H: tl.constexpr, BLOCK_P: tl.constexpr,
):  # fmt: skip
    """One program: all heads of one query."""
    row = tl.program_id(0).to(tl.int64)
    head = tl.arange(0, BLOCK_H)
    column = tl.arange(0, BLOCK_P)[None]
    mask = (head < h)[:, None] & (column < p)
    lse_at = lse_ptr + head * lse_head + row
    mine = tl.load(lse_at, mask=head < h, other=0.0)
    theirs = tl.load(other_lse_ptr + head * other_lse_head + row, mask=head < h, other=0.0)
    share = tl.sigmoid(theirs - mine)[:, None]
    at = out_ptr + row * out_row + head[:, None] * out_head + column
    near = tl.load(at, mask=mask, other=0.0).to(tl.float32)
    far_at = other_ptr + row * other_row + head[:, None] * other_head + column
    far = tl.load(far_at, mask=mask, other=0.0).to(tl.float32)
    tl.store(at, (near + share * (far - near)).to(out_ptr.dtype.element_ty), mask=mask)
    most = tl.maximum(mine, theirs)
    both = most + tl.log(tl.exp(mine - most) + tl.exp(theirs - most))
    tl.store(lse_at, both, mask=head < h)


def merge_(out: Tensor, lse: Tensor, other: Tensor, other_lse: Tensor) -> None:
    """As in `reference`; the elements of a head and the queries of an lse lie side by side."""
    l, h, p = out.shape
    merge_kernel[(l,)](
        out, lse, other, other_lse, l, h, p,
        out.stride(0), out.stride(1), other.stride(0), other.stride(1),
        lse.stride(0), other_lse.stride(0),
        BLOCK_H=triton.next_power_of_2(h),
        BLOCK_P=triton.next_power_of_2(p),
    )  # fmt: skip
