"""The causal convolution on a GPU, with its SiLU and its carried tail in one pass."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from quant.ops.overlap_kernel import overlap, wait_for_inputs

BLOCK_L = 32
"""Tokens a program, of which the first few are read by the one before too."""

STEP = 4
"""Tokens that a lane asks for at once."""

BLOCK_E = 1024
"""Channels a program: 16 bytes for each of 128 lanes, so that weights lie where they are used."""

FEW_E = 256
"""Channels a program for one token, which would keep too few programs busy otherwise."""

LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def _rows(
    x_ptr, tail_ptr, weight_ptr, bias_ptr, y_ptr, row, channel, l, e, x_stride,
    W: tl.constexpr, HAS_BIAS: tl.constexpr, TAIL: tl.constexpr,
):  # fmt: skip
    """Some rows of y; with TAIL sources before the text are in the tail."""
    e_mask = (channel < e)[None]
    mask = (row < l)[:, None] & e_mask
    total = tl.zeros(mask.shape, tl.float32)
    if HAS_BIAS:
        total += tl.load(bias_ptr + channel[None], mask=e_mask, other=0.0).to(tl.float32)
    for tap in tl.static_range(W):
        source = (row + (tap - (W - 1))).to(tl.int64)[:, None]
        new = mask & (source >= 0) if TAIL else mask
        value = tl.load(x_ptr + source * x_stride + channel[None], mask=new, other=0.0)
        value = value.to(tl.float32)
        if TAIL:
            old = mask & (source < 0)
            place = tail_ptr + (source + (W - 1)) * e + channel[None]
            value += tl.load(place, mask=old, other=0.0).to(tl.float32)
        weight = tl.load(weight_ptr + tap * e + channel[None], mask=e_mask, other=0.0)
        total += value * weight.to(tl.float32)
    y = total / (1.0 + tl.exp2(-total * LOG2E))
    place = y_ptr + row.to(tl.int64)[:, None] * e + channel[None]
    tl.store(place, y.to(y_ptr.dtype.element_ty), mask=mask)


@triton.jit
def conv_kernel(
    x_ptr, tail_ptr, weight_ptr, bias_ptr, y_ptr, l, e, x_stride,
    W: tl.constexpr, SLOTS: tl.constexpr, HAS_BIAS: tl.constexpr,
    BLOCK_L: tl.constexpr, STEP: tl.constexpr, BLOCK_E: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK_L tokens of BLOCK_E channels; SLOTS is W - 1, rounded up to a power of 2.

    Only the first block of tokens reads the tail (BLOCK_L >= W - 1), so it may also replace it.
    """
    wait_for_inputs(OVERLAP)
    pid_l = tl.program_id(1)
    channel = tl.program_id(0) * BLOCK_E + tl.arange(0, BLOCK_E)
    e_mask = channel < e
    first = pid_l * BLOCK_L + tl.arange(0, STEP)
    if pid_l == 0:
        for start in range(0, BLOCK_L, STEP):
            _rows(
                x_ptr, tail_ptr, weight_ptr, bias_ptr, y_ptr, first + start, channel,
                l, e, x_stride, W, HAS_BIAS, TAIL=True,
            )  # fmt: skip
    else:
        for start in range(0, BLOCK_L, STEP):
            _rows(
                x_ptr, tail_ptr, weight_ptr, bias_ptr, y_ptr, first + start, channel,
                l, e, x_stride, W, HAS_BIAS, TAIL=False,
            )  # fmt: skip
    if pid_l == 0:
        slot = tl.arange(0, SLOTS)
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
    one = l == 1
    block_l = 1 if one else max(BLOCK_L, triton.next_power_of_2(w))
    block_e = FEW_E if one else BLOCK_E
    conv_kernel[(triton.cdiv(e, block_e), triton.cdiv(l, block_l))](
        x, tail, weight, weight if bias is None else bias, y, l, e, x.stride(0),
        W=w,
        SLOTS=triton.next_power_of_2(max(1, w - 1)),
        HAS_BIAS=bias is not None,
        BLOCK_L=block_l,
        STEP=min(STEP, block_l),
        BLOCK_E=block_e,
        **overlap(x.device),
    )  # fmt: skip
    return y
