"""The step on a GPU as one kernel: what is shared by all channels is small, so all compute it.

Every program normalizes dt, B and C for itself (some hundred numbers, from the L2 cache) and has
its channels' rows of dt_proj and columns of the state to itself.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from quant.ops.overlap_kernel import overlap, wait_for_inputs
from runtime.ops.selective_scan.kernel import FAST, exp2, silu, softplus

BLOCK_E = 16
"""Channels a program: 512 programs of a Jamba Mini's 8,192, and whole sectors of the state."""

WARPS = 1
"""Of a program, whose channels' states are all in one warp: as measured on an H100."""

LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def _normed(x, weight, width, eps, ROUNDED: tl.constexpr):
    """The RMS norm of a row in fp32, with both roundings to the activations' dtype."""
    y = x * tl.rsqrt(tl.sum(x * x, 0) / width + eps)
    y = y.to(ROUNDED).to(tl.float32)
    return (y * weight).to(ROUNDED).to(tl.float32)


@triton.jit
def mamba_step_kernel(
    u_ptr, z_ptr, projected_ptr, dt_norm_ptr, b_norm_ptr, c_norm_ptr, dt_proj_ptr,
    a_ptr, d_ptr, bias_ptr, state_ptr, y_ptr, e, n, r, eps,
    FAST: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_E: tl.constexpr,
    OVERLAP: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK_E channels with all their states.

    All loads come first: behind the sums each would be waited for on its own.  Only `projected`
    is of the kernel before this one, since it is made of u; so all else is asked for before it
    ends.
    """
    channel = tl.program_id(0) * BLOCK_E + tl.arange(0, BLOCK_E)
    rank, column = tl.arange(0, BLOCK_R), tl.arange(0, BLOCK_N)
    e_mask, r_mask, n_mask = channel < e, rank < r, column < n
    tile = column[:, None] * e + channel[None]  # [n, e]
    mask = n_mask[:, None] & e_mask[None]
    w_mask = e_mask[:, None] & r_mask[None]
    w = tl.load(dt_proj_ptr + channel[:, None] * r + rank[None], mask=w_mask, other=0.0)
    before = tl.load(state_ptr + tile, mask=mask, other=0.0, cache_modifier=".cg")
    rate = tl.load(a_ptr + tile, mask=mask, other=0.0) * LOG2E
    low_norm = tl.load(dt_norm_ptr + rank, mask=r_mask, other=0.0).to(tl.float32)
    b_norm = tl.load(b_norm_ptr + column, mask=n_mask, other=0.0).to(tl.float32)
    c_norm = tl.load(c_norm_ptr + column, mask=n_mask, other=0.0).to(tl.float32)
    x = tl.load(u_ptr + channel, mask=e_mask, other=0.0, cache_modifier=".cg").to(tl.float32)
    gate = tl.load(z_ptr + channel, mask=e_mask, other=0.0, cache_modifier=".cg").to(tl.float32)
    bias = tl.load(bias_ptr + channel, mask=e_mask, other=0.0)
    skip = tl.load(d_ptr + channel, mask=e_mask, other=0.0)
    wait_for_inputs(OVERLAP)
    low = tl.load(projected_ptr + rank, mask=r_mask, other=0.0).to(tl.float32)
    b = tl.load(projected_ptr + r + column, mask=n_mask, other=0.0).to(tl.float32)
    c = tl.load(projected_ptr + r + n + column, mask=n_mask, other=0.0).to(tl.float32)
    rounded = projected_ptr.dtype.element_ty
    low = _normed(low, low_norm, r, eps, rounded)
    b, c = _normed(b, b_norm, n, eps, rounded), _normed(c, c_norm, n, eps, rounded)
    dt = tl.sum(w.to(tl.float32) * low[None], 1)
    dt = dt.to(rounded).to(tl.float32)  # as the product's result
    delta = softplus(dt + bias, FAST)
    h = exp2(delta[None] * rate, FAST) * before + b[:, None] * (delta * x)[None]
    tl.store(state_ptr + tile, h, mask=mask)
    y = (tl.sum(h * c[:, None], 0) + skip * x) * silu(gate, FAST)
    tl.store(y_ptr + channel, y.to(y_ptr.dtype.element_ty), mask=e_mask)


def mamba_step(
    u: Tensor,
    z: Tensor,
    projected: Tensor,
    norms: tuple[Tensor, Tensor, Tensor],
    eps: float,
    dt_proj: Tensor,
    A: Tensor,
    D: Tensor,
    dt_bias: Tensor,
    state: Tensor,
) -> Tensor:
    """As in `reference`; u and z may be parts of a wider row."""
    e, r = dt_proj.shape
    n = A.shape[0]
    y = torch.empty(1, e, dtype=u.dtype, device=u.device)
    mamba_step_kernel[(triton.cdiv(e, BLOCK_E),)](
        u, z, projected, *norms, dt_proj, A, D, dt_bias, state, y, e, n, r, eps,
        FAST=FAST,
        BLOCK_R=triton.next_power_of_2(r),
        BLOCK_N=triton.next_power_of_2(n),
        BLOCK_E=BLOCK_E,
        num_warps=WARPS,
        **overlap(u.device),
    )  # fmt: skip
    return y
