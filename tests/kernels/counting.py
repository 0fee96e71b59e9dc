"""A kernel with a loop and nothing else, to try the interpreter with."""

from __future__ import annotations

import torch
import triton
import triton.language as tl


@triton.jit
def count_kernel(x_ptr, n, STEP: tl.constexpr):
    for i in range(0, n, STEP):
        tl.store(x_ptr + i, 1.0)


def count(n: int) -> None:
    """Raises what the interpreter makes of a loop to n."""
    count_kernel[(1,)](torch.zeros(n), n, STEP=1)
