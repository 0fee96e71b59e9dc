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
