"""Kernels that follow each other closely: each is set up while the one before it ends.

Programmatic dependent launch, of Hopper GPUs and later. A kernel that is launched so must wait
before it touches what others wrote or will read; then it lets the next one begin its set-up.

When it begins, the kernel before the one before it has ended, since that one had to wait for it.
So what is older than the last kernel may be read early, past the L1 cache (`.cg`); weights always.
"""

from __future__ import annotations

import os
from functools import cache

import torch
import triton
import triton.language as tl


@triton.jit
def wait_for_inputs(OVERLAP: tl.constexpr):
    """First in a kernel that `overlap` launches."""
    if OVERLAP:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()


FETCH = tl.constexpr(
    "{ .reg .pred p; setp.ne.b32 p, $3, 0;"
    " @p cp.async.bulk.prefetch.L2.global [$1], $2; mov.b32 $0, 0; }"
)

PIECE = tl.constexpr(2048)
"""Bytes that a thread asks for."""


@triton.jit
def fetch(place, nbytes, wanted):
    """Has the L2 cache fetch nbytes from each place, both multiples of 16, where wanted."""
    tl.inline_asm_elementwise(
        FETCH, "=r,l,r,r", [place, nbytes, wanted.to(tl.int32)],
        dtype=tl.int32, is_pure=False, pack=1,
    )  # fmt: skip


@triton.jit
def bring(ptr, pieces, THREADS: tl.constexpr):
    """Has the L2 cache fetch `pieces` of a weight, a share by each program; waits for nothing.

    For a weight that the next kernel reads, while the memory would be idle.
    """
    thread = tl.arange(0, THREADS)
    for first in range(tl.program_id(0), pieces, tl.num_programs(0) * THREADS):
        piece = first + thread * tl.num_programs(0)
        fetch(ptr.to(tl.int64) + piece.to(tl.int64) * PIECE, PIECE, piece < pieces)


@cache
def overlap(device: torch.device) -> dict[str, bool]:
    """Arguments of a launch; JAMBA_OVERLAP=0 turns it off, to compare."""
    able = (
        device.type == "cuda"
        and os.environ.get("JAMBA_OVERLAP") != "0"
        and os.environ.get("TRITON_INTERPRET") != "1"
        and torch.cuda.get_device_capability(device) >= (9, 0)
    )
    return {"OVERLAP": True, "launch_pdl": True} if able else {"OVERLAP": False}
