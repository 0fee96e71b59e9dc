"""The selective scan on a GPU: tiles of tokens by channels, all states of a channel in registers.

A program owns a few channels with all their states and walks over the tokens in blocks.  What is
done once a channel (softplus, gate) is computed on the [tokens, channels] block, each value by
one lane; what is done for every state is computed on [tokens, states, channels], whose token axis
lies in one lane's registers, so that the recurrence is one fused multiply-add a state and token.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK_E = 8
"""Channels a program: with 8,192 of them 1,024 programs of one warp, two for each scheduler."""

BLOCK_L = 16
"""Tokens a block: their arithmetic takes longer than the next block's way from memory."""

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)


@triton.jit
def _softplus(x):
    """log(1 + exp(x)) in fp32, exact to the last bits for very negative x too."""
    y = tl.exp2(tl.minimum(x, 20.0) * LOG2E)
    s = 1.0 + y
    # log(s) * y / (s - 1) undoes the rounding of 1 + y.
    rounded = tl.where(s == 1.0, 1.0, s - 1.0)
    near = tl.where(s == 1.0, y, tl.log2(s) * LN2 * (y / rounded))
    return tl.where(x > 20.0, x, near)


@triton.jit
def _row(tile, index, T: tl.constexpr):
    """Row T of a [tokens, ...] tile: a choice of registers, since T is known to the compiler.

    Summed as integers, whose added zeros vanish; a float's would not (-0.0 + 0.0 is 0.0).
    """
    bits = tl.where(index == T, tile.to(tl.int32, bitcast=True), 0)
    return tl.sum(bits, 0).to(tl.float32, bitcast=True)


@triton.jit
def scan_kernel(
    u_ptr, dt_ptr, a_ptr, b_ptr, c_ptr, d_ptr, z_ptr, bias_ptr, state_ptr, y_ptr,
    l, e, n,
    u_stride, dt_stride, b_stride, c_stride, z_stride,
    BLOCK_L: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_E: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK_E channels over all l tokens."""
    pid_e = tl.program_id(0)
    channel = pid_e * BLOCK_E + tl.arange(0, BLOCK_E)
    row = tl.arange(0, BLOCK_L)
    column = tl.arange(0, BLOCK_N)
    token = tl.arange(0, BLOCK_L)[:, None, None]
    e_mask = channel < e
    n_mask = column < n
    tile = column[:, None] * e + channel[None]  # [n, e]
    tile_mask = n_mask[:, None] & e_mask[None]
    rate = tl.load(a_ptr + tile, mask=tile_mask, other=0.0) * LOG2E
    before = tl.load(state_ptr + tile, mask=tile_mask, other=0.0)
    # Through a tile of tokens, so that the state has the layout of the rows it is added to. As it
    # is loaded, every token's row would go from one to the other through shared memory.
    h = _row(tl.broadcast_to(before[None], [BLOCK_L, BLOCK_N, BLOCK_E]), token, 0)
    skip = tl.load(d_ptr + channel, mask=e_mask, other=0.0)
    bias = tl.load(bias_ptr + channel, mask=e_mask, other=0.0)
    for start in range(0, l, BLOCK_L):
        at = (start + row).to(tl.int64)[:, None]
        l_mask = at < l
        mask = l_mask & (channel < e)[None]
        bc_mask = l_mask & n_mask[None]
        u = tl.load(u_ptr + at * u_stride + channel[None], mask=mask, other=0.0)
        dt = tl.load(dt_ptr + at * dt_stride + channel[None], mask=mask, other=0.0)
        z = tl.load(z_ptr + at * z_stride + channel[None], mask=mask, other=0.0)
        b = tl.load(b_ptr + at * b_stride + column[None], mask=bc_mask, other=0.0)
        c = tl.load(c_ptr + at * c_stride + column[None], mask=bc_mask, other=0.0)
        x = u.to(tl.float32)
        gate = z.to(tl.float32)
        # Past the last token: decay 1 and no input, so that the state stays.
        delta = tl.where(mask, _softplus(dt.to(tl.float32) + bias[None]), 0.0)
        decay = tl.exp2(delta[:, None, :] * rate[None])  # [l, n, e]
        entry = b.to(tl.float32)[:, :, None] * (delta * x)[:, None, :]
        states = entry
        for t in tl.static_range(BLOCK_L):
            h = _row(decay, token, t) * h + _row(entry, token, t)
            states = tl.where(token == t, h[None], states)
        y = tl.sum(states * c.to(tl.float32)[:, :, None], 1) + skip[None] * x  # [l, e]
        y = y * (gate / (1.0 + tl.exp2(-gate * LOG2E)))
        tl.store(y_ptr + at * e + channel[None], y.to(y_ptr.dtype.element_ty), mask=mask)
    tl.store(state_ptr + tile, h, mask=tile_mask)


def selective_scan(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor,
    dt_bias: Tensor,
    state: Tensor,
) -> Tensor:
    """As in `reference`; rows of u, dt, B, C and z may be slices of wider ones."""
    l, e = u.shape
    n = A.shape[0]
    y = torch.empty(l, e, dtype=u.dtype, device=u.device)
    scan_kernel[(triton.cdiv(e, BLOCK_E),)](
        u, dt, A, B, C, D, z, dt_bias, state, y, l, e, n,
        u.stride(0), dt.stride(0), B.stride(0), C.stride(0), z.stride(0),
        BLOCK_L=1 if l == 1 else BLOCK_L,
        BLOCK_N=triton.next_power_of_2(n),
        BLOCK_E=BLOCK_E,
        num_warps=1,
    )  # fmt: skip
    return y
