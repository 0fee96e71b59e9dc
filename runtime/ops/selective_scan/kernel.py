"""The selective scan on a GPU: tiles of tokens by states by channels, all in registers.

A warp owns a few channels with all their states and walks over the tokens in blocks.  What is done
once a channel (softplus, gate) is computed on the [tokens, channels] block, each value by one lane;
what is done for every state is computed on tiles [l, k, q, e]: tokens, pairs of states of a lane,
lanes of a channel, channels.  Tokens and a lane's pairs lie in its registers, so that the
recurrence is one fused multiply-add a state and token.  The states of even and of odd numbers have
tiles of their own, so that B and C stay pairs of bf16 until a lane has them: less goes through
shared memory.  The next block is on its way from memory while one is computed.
"""

from __future__ import annotations

import os

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language.extra import libdevice

BLOCK_E = 8
"""Channels a program, which is one warp and so waits for no other: 8,192 of them make two warps for
each scheduler, which hide each other's waits and may take all 255 registers a lane.  With fewer
channels there are more warps, each of which moves B and C to lanes of its own."""

BLOCK_L = 16
"""Tokens a block: with 8 there are a sixth more instructions a token; with 32 hardly fewer, and
nearly all registers are taken."""

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
def _kept(x, FAST: tl.constexpr):
    """x, which the compiler may neither compute anew in another layout nor give another layout.

    A move that is said to have effects: registers are renamed and nothing is left of it.
    """
    if FAST:
        return tl.inline_asm_elementwise(
            "mov.b32 $0, $1;", "=r,r", [x], dtype=x.dtype, is_pure=False, pack=1
        )
    return x


@triton.jit
def _row(tile, index, T: tl.constexpr):
    """Row T of a [tokens, ...] tile: a choice of registers, since T is known to the compiler.

    Summed as integers, whose added zeros vanish; a float's would not (-0.0 + 0.0 is 0.0).
    """
    bits = tl.where(index == T, tile.to(tl.int32, bitcast=True), 0)
    return tl.sum(bits, 0).to(tl.float32, bitcast=True)


@triton.jit
def _halves(pair):
    """Two bf16 in an integer -> two fp32."""
    even = (pair << 16).to(tl.float32, bitcast=True)
    odd = (pair & -65536).to(tl.float32, bitcast=True)
    return even, odd


@triton.jit
def _two(at, even, odd, PAIRS: tl.constexpr):
    """Values of even and odd states [l, n / 2]; of PAIRS both are in either."""
    first = tl.load(at, mask=even, other=0)
    second = first if PAIRS else tl.load(at + 1, mask=odd, other=0)
    return first, second


@triton.jit
def _block(
    u_at, dt_at, z_at, b_at, c_at, tokens, e_mask, dt_mask, even, odd,
    PAIRED: tl.constexpr, PAIRS: tl.constexpr,
):  # fmt: skip
    """The inputs of a block; past the last token decay is 1 and nothing enters: the state stays."""
    mask = tokens[:, None] & e_mask[None]
    u = tl.load(u_at, mask=mask, other=0.0)
    if PAIRED:
        dt = tl.load(dt_at, mask=tokens[:, None] & dt_mask[None], other=MINUS_INFINITIES)
    else:
        dt = tl.load(dt_at, mask=mask, other=float("-inf"))
    z = tl.load(z_at, mask=mask, other=0.0)
    b, b_odd = _two(b_at, tokens[:, None] & even[None], tokens[:, None] & odd[None], PAIRS)
    c, c_odd = _two(c_at, tokens[:, None] & even[None], tokens[:, None] & odd[None], PAIRS)
    return u, dt, z, b, b_odd, c, c_odd


@triton.jit
def _steps(dt, bias, odd_bias, FAST: tl.constexpr, PAIRED: tl.constexpr):
    """softplus(dt + bias) [l, e]; PAIRED takes two bf16 as one integer."""
    if PAIRED:
        even, odd = _halves(dt)
        steps = tl.interleave(
            softplus(even + bias[None], FAST), softplus(odd + odd_bias[None], FAST)
        )
    else:
        steps = softplus(dt.to(tl.float32) + bias[None], FAST)
    return _kept(steps, FAST)


@triton.jit
def _biases(bias_ptr, channel, e_mask, e, BLOCK_E: tl.constexpr, PAIRED: tl.constexpr):
    """Of dt its columns, their mask and their biases; of pairs, those of the two halves."""
    if PAIRED:
        column = tl.program_id(0) * (BLOCK_E // 2) + tl.arange(0, BLOCK_E // 2)
        mask = column < e // 2
        bias = tl.load(bias_ptr + 2 * column, mask=mask, other=0.0)
        odd = tl.load(bias_ptr + 2 * column + 1, mask=mask, other=0.0)
    else:
        column = channel
        mask = e_mask
        bias = tl.load(bias_ptr + channel, mask=mask, other=0.0)
        odd = bias
    return column, mask, bias, odd


@triton.jit
def _of_states(x, like):
    """[l, n / 2] -> [l, k, q, e]: pair i goes to lane i // k, where its neighbours go too."""
    K: tl.constexpr = like.shape[1]
    x = tl.permute(tl.reshape(x, [x.shape[0], like.shape[2], K]), (0, 2, 1))
    return tl.broadcast_to(x[:, :, :, None], like.shape)


@triton.jit
def _of_channels(x):
    """[l, e] -> [l, 1, 1, e].

    Reshaped, which fixes the layout of x: indexed alone, what x is computed from would be moved to
    the lanes in its place, and x computed by each lane of a channel.
    """
    return tl.reshape(x, [x.shape[0], 1, x.shape[1]])[:, None]


@triton.jit
def _values(first, second, like, FAST: tl.constexpr, PAIRS: tl.constexpr):
    """Those of even and of odd states in fp32, as tiles; PAIRS are cut in two by each lane."""
    if PAIRS:
        even, odd = _halves(_kept(_of_states(first, like), FAST))
    else:
        even = _of_states(first.to(tl.float32), like)
        odd = _of_states(second.to(tl.float32), like)
    return even, odd


@triton.jit
def _recurrence(h, decay, entry, token, BLOCK_L: tl.constexpr):
    """h after each of the tokens [l, k, q, e], and after the last."""
    states = entry
    for t in tl.static_range(BLOCK_L):
        h = _row(decay, token, t) * h + _row(entry, token, t)
        states = tl.where(token == t, h[None], states)
    return states, h


@triton.jit
def _sum_of_states(products, FAST: tl.constexpr):
    """[l, k, q, e] -> [l, e].

    A lane's own first.  Then as a tile of another layout, in which a lane has all parts of a
    token and channel: one exchange through shared memory, for which passing sums from lane to lane
    takes four times as many instructions.
    """
    parts = tl.permute(tl.sum(products, 1), (1, 0, 2))
    return tl.sum(_kept(parts, FAST), 0)


@triton.jit
def _columns(N: tl.constexpr, COUNT: tl.constexpr, PAIRS: tl.constexpr):
    """Of each pair of states its column in a row of B or C, and whether it has either state."""
    pair = tl.arange(0, COUNT)
    if PAIRS:  # the compiler loads several at once only if it sees that none is masked
        column = pair
        even = pair < N // 2
        odd = even
    else:
        column = 2 * pair
        even = column < N
        odd = column + 1 < N
    return column, even, odd


@triton.jit
def _offsets(channel, e, N: tl.constexpr, K: tl.constexpr, Q: tl.constexpr):
    """Of even rows of A or the state [n, e] as a tile [k, q, e]; masks of even and odd ones."""
    state = 2 * (tl.arange(0, K)[:, None] + K * tl.arange(0, Q)[None])[:, :, None]
    channel = channel[None, None]
    return state * e + channel, (state < N) & (channel < e), (state + 1 < N) & (channel < e)


@triton.jit
def _tile_of(ptr, tile, e, even, odd, token, like):
    """Even and odd rows of A or the state [n, e] as tiles [k, q, e].

    Through a tile of tokens, so that they have the layout of the rows they are used with. As they
    are loaded, every token's row would go from one to the other through shared memory.
    """
    first = tl.load(ptr + tile, mask=even, other=0.0)
    second = tl.load(ptr + e + tile, mask=odd, other=0.0)
    first = _row(tl.broadcast_to(first[None], like.shape), token, 0)
    second = _row(tl.broadcast_to(second[None], like.shape), token, 0)
    return first, second


@triton.jit
def _through(
    u, dt, z, b, b_odd, c, c_odd, h, odd_h, rate, odd_rate, bias, odd_bias, skip, token, like,
    FAST: tl.constexpr, PAIRED: tl.constexpr, PAIRS: tl.constexpr,
):  # fmt: skip
    """y [l, e] of a block, and its last states."""
    x = u.to(tl.float32)
    delta = _steps(dt, bias, odd_bias, FAST, PAIRED)
    wide = _of_channels(delta)
    decay = exp2(wide * rate[None], FAST)
    odd_decay = exp2(wide * odd_rate[None], FAST)
    entering = _of_channels(_kept(delta * x, FAST))
    B, odd_B = _values(b, b_odd, like, FAST, PAIRS)
    states, h = _recurrence(h, decay, B * entering, token, like.shape[0])
    odd_states, odd_h = _recurrence(odd_h, odd_decay, odd_B * entering, token, like.shape[0])
    C, odd_C = _values(c, c_odd, like, FAST, PAIRS)
    y = _sum_of_states(states * C + odd_states * odd_C, FAST) + skip[None] * x
    return y * silu(z.to(tl.float32), FAST), h, odd_h


@triton.jit
def scan_kernel(
    u_ptr, dt_ptr, a_ptr, b_ptr, c_ptr, d_ptr, z_ptr, bias_ptr, state_ptr, y_ptr,
    l, e,
    u_stride, dt_stride, b_stride, c_stride, z_stride,
    N: tl.constexpr, BLOCK_L: tl.constexpr, BLOCK_E: tl.constexpr, Q: tl.constexpr, K: tl.constexpr,
    FAST: tl.constexpr, PAIRED: tl.constexpr, PAIRS: tl.constexpr,
):  # fmt: skip
    """One warp: BLOCK_E channels over all l tokens; Q lanes a channel, K pairs of states a lane."""
    channel = tl.program_id(0) * BLOCK_E + tl.arange(0, BLOCK_E)
    e_mask = channel < e
    row = tl.arange(0, BLOCK_L)
    token = row[:, None, None, None]
    like = tl.zeros([BLOCK_L, K, Q, BLOCK_E], tl.float32)
    tile, even_tile, odd_tile = _offsets(channel, e, N, K, Q)
    rate, odd_rate = _tile_of(a_ptr, tile, e, even_tile, odd_tile, token, like)
    rate, odd_rate = rate * LOG2E, odd_rate * LOG2E
    h, odd_h = _tile_of(state_ptr, tile, e, even_tile, odd_tile, token, like)
    skip = tl.load(d_ptr + channel, mask=e_mask, other=0.0)
    dt_column, dt_mask, bias, odd_bias = _biases(bias_ptr, channel, e_mask, e, BLOCK_E, PAIRED)
    column, even, odd = _columns(N, K * Q, PAIRS)
    at = row.to(tl.int64)[:, None]
    u_at = u_ptr + at * u_stride + channel[None]
    dt_at = dt_ptr + at * dt_stride + dt_column[None]
    z_at = z_ptr + at * z_stride + channel[None]
    b_at = b_ptr + at * b_stride + column[None]
    c_at = c_ptr + at * c_stride + column[None]
    y_at = y_ptr + at * e + channel[None]
    u, dt, z, b, b_odd, c, c_odd = _block(
        u_at, dt_at, z_at, b_at, c_at, row < l, e_mask, dt_mask, even, odd, PAIRED, PAIRS
    )
    for start in range(0, l, BLOCK_L):
        u_at += BLOCK_L * u_stride
        dt_at += BLOCK_L * dt_stride
        z_at += BLOCK_L * z_stride
        b_at += BLOCK_L * b_stride
        c_at += BLOCK_L * c_stride
        coming = row < l - start - BLOCK_L
        u_next, dt_next, z_next, b_next, b_odd_next, c_next, c_odd_next = _block(
            u_at, dt_at, z_at, b_at, c_at, coming, e_mask, dt_mask, even, odd, PAIRED, PAIRS
        )
        y, h, odd_h = _through(
            u, dt, z, b, b_odd, c, c_odd, h, odd_h, rate, odd_rate, bias, odd_bias, skip,
            token, like, FAST, PAIRED, PAIRS,
        )  # fmt: skip
        mask = (row < l - start)[:, None] & e_mask[None]
        tl.store(y_at, y.to(y_ptr.dtype.element_ty), mask=mask)
        y_at += BLOCK_L * e
        u, dt, z = u_next, dt_next, z_next
        b, b_odd, c, c_odd = b_next, b_odd_next, c_next, c_odd_next
    tl.store(state_ptr + tile, _kept(h, FAST), mask=even_tile)
    tl.store(state_ptr + e + tile, _kept(odd_h, FAST), mask=odd_tile)


def _pairs(x: Tensor) -> Tensor | None:
    """Rows of bf16 as rows of pairs [l, n / 2] int32, where they lie; None if they can't be."""
    at = (x.shape[1], x.stride(0), x.storage_offset())
    if x.dtype != torch.bfloat16 or x.stride(1) != 1 or any(count % 2 for count in at):
        return None
    return x.view(torch.int32)


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
    dt_pairs, b_pairs, c_pairs = _pairs(dt), _pairs(B), _pairs(C)
    paired, pairs = dt_pairs is not None, b_pairs is not None and c_pairs is not None
    dt = dt_pairs if dt_pairs is not None else dt
    B, C = (b_pairs, c_pairs) if b_pairs is not None and c_pairs is not None else (B, C)
    half = max(triton.next_power_of_2(n) // 2, 1)
    lanes = min(32 // BLOCK_E, half)
    scan_kernel[(triton.cdiv(e, BLOCK_E),)](
        u, dt, A, B, C, D, z, dt_bias, state, y, l, e,
        u.stride(0), dt.stride(0), B.stride(0), C.stride(0), z.stride(0),
        N=n,
        BLOCK_L=1 if l == 1 else BLOCK_L,
        BLOCK_E=BLOCK_E,
        Q=lanes,
        K=half // lanes,
        FAST=FAST,
        PAIRED=paired,
        PAIRS=pairs,
        num_warps=1,
    )  # fmt: skip
    return y
