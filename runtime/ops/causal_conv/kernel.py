"""The causal convolution on a GPU, with its SiLU and its carried tail in one pass."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK_L = 16
BLOCK_E = 256

LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def conv_kernel(
    x_ptr, tail_ptr, weight_ptr, bias_ptr, y_ptr, l, e, x_stride,
    W: tl.constexpr, TAIL: tl.constexpr, HAS_BIAS: tl.constexpr,
    BLOCK_L: tl.constexpr, BLOCK_E: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK_L tokens of BLOCK_E channels; TAIL is W - 1, rounded up to a power of 2.

    Only the first block of tokens reads the tail (BLOCK_L >= W - 1), so it may also replace it.
    """
    pid_l = tl.program_id(1)
    row = pid_l * BLOCK_L + tl.arange(0, BLOCK_L)
    channel = tl.program_id(0) * BLOCK_E + tl.arange(0, BLOCK_E)
    e_mask = channel < e
    mask = (row < l)[:, None] & e_mask[None]
    total = tl.zeros([BLOCK_L, BLOCK_E], tl.float32)
    if HAS_BIAS:
        total += tl.load(bias_ptr + channel, mask=e_mask, other=0.0).to(tl.float32)[None]
    for tap in tl.static_range(W):
        source = (row + (tap - (W - 1))).to(tl.int64)[:, None]
        new = mask & (source >= 0)
        value = tl.load(x_ptr + source * x_stride + channel[None], mask=new, other=0.0)
        value = value.to(tl.float32)
        if pid_l == 0:
            old = mask & (source < 0)
            place = tail_ptr + (source + (W - 1)) * e + channel[None]
            value += tl.load(place, mask=old, other=0.0).to(tl.float32)
        weight = tl.load(weight_ptr + tap * e + channel, mask=e_mask, other=0.0)
        total += value * weight.to(tl.float32)[None]
    y = total / (1.0 + tl.exp2(-total * LOG2E))
    place = y_ptr + row.to(tl.int64)[:, None] * e + channel[None]
    tl.store(place, y.to(y_ptr.dtype.element_ty), mask=mask)
    if pid_l == 0:
        slot = tl.arange(0, TAIL)
        slot_mask = (slot < W - 1)[:, None] & e_mask[None]
        end = (l - (W - 1) + slot).to(tl.int64)[:, None]  # of the text, or still in the old tail
        last = tl.load(
            x_ptr + end * x_stride + channel[None], mask=slot_mask & (end >= 0), other=0.0
        )
        kept = tl.load(
            tail_ptr + (end + (W - 1)) * e + channel[None], mask=slot_mask & (end < 0), other=0.0
        )
        tl.debug_barrier()  # every lane has read the tail before any lane writes it
        tail = tail_ptr + slot[:, None] * e + channel[None]
        tl.store(tail, last.to(kept.dtype) + kept, mask=slot_mask)


def causal_conv(x: Tensor, tail: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """As in `reference`, but summed in fp32 and rounded once; x may be a slice of wider rows."""
    l, e = x.shape
    w = weight.shape[0]
    y = torch.empty(l, e, dtype=x.dtype, device=x.device)
    block_l = triton.next_power_of_2(w) if l == 1 else max(BLOCK_L, triton.next_power_of_2(w))
    conv_kernel[(triton.cdiv(e, BLOCK_E), triton.cdiv(l, block_l))](
        x, tail, weight, weight if bias is None else bias, y, l, e, x.stride(0),
        W=w,
        TAIL=triton.next_power_of_2(max(1, w - 1)),
        HAS_BIAS=bias is not None,
        BLOCK_L=block_l,
        BLOCK_E=BLOCK_E,
    )  # fmt: skip
    return y
