"""Matrix-vector products with a plain weight of few outputs on a GPU: a program an output.

Such a product moves next to nothing and takes what a launch takes.  So a program asks for its row
of the weight before it waits for the kernel that writes x, and all of the row is on its way at
once.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from quant.ops.overlap_kernel import overlap, wait_for_inputs

MOST_OUTPUTS = 512
"""Of more than these, programs that own several keep the GPU busy."""

WARPS = 8
"""Of a program: half as many, or twice, take as long on an H100."""

LONGEST = 16_384
"""Weights of an output that a program can hold in registers."""


@triton.jit
def gemv_narrow_kernel(
    x_ptr, w_ptr, y_ptr, n, k, x_stride, BLOCK_K: tl.constexpr, OVERLAP: tl.constexpr
):
    """One program: one output of row s."""
    s = tl.program_id(0).to(tl.int64)
    row = tl.program_id(1).to(tl.int64)
    at = tl.arange(0, BLOCK_K)
    w = tl.load(w_ptr + row * k + at, mask=at < k, other=0.0)
    wait_for_inputs(OVERLAP)
    x = tl.load(x_ptr + s * x_stride + at, mask=at < k, other=0.0)
    y = tl.sum(w.to(tl.float32) * x.to(tl.float32), 0)
    tl.store(y_ptr + s * n + row, y.to(y_ptr.dtype.element_ty))


def fits(w: Tensor) -> bool:
    """Whether a weight [n, k] is narrow and short enough."""
    return w.shape[-2] <= MOST_OUTPUTS and w.shape[-1] <= LONGEST


def launch(x: Tensor, w: Tensor, y: Tensor) -> None:
    """x [s, k] by w [n, k] into y [s, n]."""
    n, k = w.shape
    gemv_narrow_kernel[(x.shape[0], n)](
        x, w, y, n, k, x.stride(0),
        BLOCK_K=triton.next_power_of_2(k),
        num_warps=WARPS,
        **overlap(x.device),
    )  # fmt: skip
