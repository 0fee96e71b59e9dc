"""The selective scan on a GPU: tiles of tokens by channels, all states of a channel in registers.

A program owns a few channels with all their states and walks over the tokens in blocks.  What is
done once a channel (softplus, gate) is computed on the [tokens, channels] block, each value by
one lane; what is done for every state is computed on [tokens, states, channels], whose token axis
lies in one lane's registers, so that the recurrence is one fused multiply-add a state and token.
A scheduler of the GPU has one or two such programs: the next block is on its way from memory while
one is computed.
"""

from __future__ import annotations

import os

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language.extra import libdevice

BLOCK_E = 8
"""Channels a program: with 8,192 of them 1,024 programs of one warp, two for each scheduler."""

BLOCK_L = 16
"""Tokens a block: as many as registers hold with all states of the channels."""

FAST = os.environ.get("TRITON_INTERPRET") != "1"
"""Whether the GPU's own exp2, log2 and division are used, without cases for denormals: they flush
to zero, as on the CPU. The interpreter has none of them."""

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)
MINUS_INFINITIES = tl.constexpr(-8323200)
"""The bits of two bf16."""


@triton.jit
def exp2(x, FAST: tl.constexpr):
    """2 ** x."""
    if FAST:
        return libdevice.exp2(x)
    return tl.exp2(x)


@triton.jit
def softplus(x, FAST: tl.constexpr):
    """log(1 + exp(x)) in fp32; where exp(x) is small by its series, which stays exact."""
    y = exp2(-tl.abs(x) * LOG2E, FAST)
    above = (libdevice.fast_log2f(1.0 + y) if FAST else tl.log2(1.0 + y)) * LN2
    series = y * (1.0 - y * (0.5 - y * (1.0 / 3.0)))
    return tl.maximum(x, 0.0) + tl.where(y < 0.015625, series, above)


@triton.jit
def silu(x, FAST: tl.constexpr):
    """x / (1 + exp(-x))."""
    below = 1.0 + exp2(-x * LOG2E, FAST)
    if FAST:
        return libdevice.fast_dividef(x, below)
    return x / below


@triton.jit
def _row(tile, index, T: tl.constexpr):
    """Row T of a [tokens, ...] tile: a choice of registers, since T is known to the compiler.

    Summed as integers, whose added zeros vanish; a float's would not (-0.0 + 0.0 is 0.0).
    """
    bits = tl.where(index == T, tile.to(tl.int32, bitcast=True), 0)
    return tl.sum(bits, 0).to(tl.float32, bitcast=True)


@triton.jit
def _block(u_at, dt_at, z_at, b_at, c_at, tokens, e_mask, dt_mask, n_mask, PAIRED: tl.constexpr):
    """The inputs of a block; past the last token decay is 1 and nothing enters: the state stays."""
    mask = tokens[:, None] & e_mask[None]
    bc_mask = tokens[:, None] & n_mask[None]
    u = tl.load(u_at, mask=mask, other=0.0)
    if PAIRED:
        dt = tl.load(dt_at, mask=tokens[:, None] & dt_mask[None], other=MINUS_INFINITIES)
    else:
        dt = tl.load(dt_at, mask=mask, other=float("-inf"))
    z = tl.load(z_at, mask=mask, other=0.0)
    b = tl.load(b_at, mask=bc_mask, other=0.0)
    c = tl.load(c_at, mask=bc_mask, other=0.0)
    return u, dt, z, b, c


@triton.jit
def _steps(dt, bias, odd_bias, FAST: tl.constexpr, PAIRED: tl.constexpr):
    """softplus(dt + bias) [l, e].

    PAIRED takes two bf16 as one integer. Where a conversion to fp32 stands before softplus, the
    compiler brings dt to the layout of the states first, where each lane would compute it anew for
    its states of a channel; shifts it leaves where they are.
    """
    if PAIRED:
        even = (dt << 16).to(tl.float32, bitcast=True)
        odd = (dt & -65536).to(tl.float32, bitcast=True)
        steps = tl.interleave(
            softplus(even + bias[None], FAST), softplus(odd + odd_bias[None], FAST)
        )
    else:
        steps = softplus(dt.to(tl.float32) + bias[None], FAST)
    return steps


@triton.jit
def _biases(bias_ptr, channel, e_mask, e, BLOCK_E: tl.constexpr, PAIRED: tl.constexpr):
    """Of dt its columns, their mask and their biases; of pairs, those of the two halves."""
    if PAIRED:
        column = tl.program_id(0) * (BLOCK_E // 2) + tl.arange(0, BLOCK_E // 2)
        mask = 2 * column < e
        bias = tl.load(bias_ptr + 2 * column, mask=mask, other=0.0)
        odd = tl.load(bias_ptr + 2 * column + 1, mask=mask, other=0.0)
    else:
        column = channel
        mask = e_mask
        bias = tl.load(bias_ptr + channel, mask=mask, other=0.0)
        odd = bias
    return column, mask, bias, odd


@triton.jit
def _recurrence(h, decay, entry, token, BLOCK_L: tl.constexpr):
    """h after each of the tokens [l, n, e], and after the last."""
    states = entry
    for t in tl.static_range(BLOCK_L):
        h = _row(decay, token, t) * h + _row(entry, token, t)
        states = tl.where(token == t, h[None], states)
    return states, h


@triton.jit
def scan_kernel(
    u_ptr, dt_ptr, a_ptr, b_ptr, c_ptr, d_ptr, z_ptr, bias_ptr, state_ptr, y_ptr,
    l, e, n,
    u_stride, dt_stride, b_stride, c_stride, z_stride,
    BLOCK_L: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_E: tl.constexpr,
    FAST: tl.constexpr, PAIRED: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK_E channels over all l tokens."""
    channel = tl.program_id(0) * BLOCK_E + tl.arange(0, BLOCK_E)
    row = tl.arange(0, BLOCK_L)
    column = tl.arange(0, BLOCK_N)
    token = row[:, None, None]
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
    dt_column, dt_mask, bias, odd_bias = _biases(bias_ptr, channel, e_mask, e, BLOCK_E, PAIRED)
    at = row.to(tl.int64)[:, None]
    u_at = u_ptr + at * u_stride + channel[None]
    dt_at = dt_ptr + at * dt_stride + dt_column[None]
    z_at = z_ptr + at * z_stride + channel[None]
    b_at = b_ptr + at * b_stride + column[None]
    c_at = c_ptr + at * c_stride + column[None]
    y_at = y_ptr + at * e + channel[None]
    u, dt, z, b, c = _block(u_at, dt_at, z_at, b_at, c_at, row < l, e_mask, dt_mask, n_mask, PAIRED)
    for start in range(0, l, BLOCK_L):
        u_at += BLOCK_L * u_stride
        dt_at += BLOCK_L * dt_stride
        z_at += BLOCK_L * z_stride
        b_at += BLOCK_L * b_stride
        c_at += BLOCK_L * c_stride
        coming = row < l - start - BLOCK_L
        u_next, dt_next, z_next, b_next, c_next = _block(
            u_at, dt_at, z_at, b_at, c_at, coming, e_mask, dt_mask, n_mask, PAIRED
        )
        x = u.to(tl.float32)
        delta = _steps(dt, bias, odd_bias, FAST, PAIRED)
        decay = exp2(delta[:, None, :] * rate[None], FAST)  # [l, n, e]
        entry = b.to(tl.float32)[:, :, None] * (delta * x)[:, None, :]
        states, h = _recurrence(h, decay, entry, token, BLOCK_L)
        y = tl.sum(states * c.to(tl.float32)[:, :, None], 1) + skip[None] * x  # [l, e]
        y = y * silu(z.to(tl.float32), FAST)
        mask = (row < l - start)[:, None] & e_mask[None]
        tl.store(y_at, y.to(y_ptr.dtype.element_ty), mask=mask)
        y_at += BLOCK_L * e
        u, dt, z, b, c = u_next, dt_next, z_next, b_next, c_next
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
    if l > 1:  # every program widens all of B and C, unless it is done once
        B, C = B.float(), C.float()
    paired = dt.dtype == torch.bfloat16 and e % 2 == 0 and dt.is_contiguous()
    if paired:
        dt = dt.view(torch.int32)
    scan_kernel[(triton.cdiv(e, BLOCK_E),)](
        u, dt, A, B, C, D, z, dt_bias, state, y, l, e, n,
        u.stride(0), dt.stride(0), B.stride(0), C.stride(0), z.stride(0),
        BLOCK_L=1 if l == 1 else BLOCK_L,
        BLOCK_N=triton.next_power_of_2(n),
        BLOCK_E=BLOCK_E,
        FAST=FAST,
        PAIRED=paired,
        num_warps=1,
    )  # fmt: skip
    return y
