"""The gate on a GPU: both halves read once; for fp8 only codes are written."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from quant.ops.quantize_rows.kernel import LONGEST, empty_rows, quantize_rows, row_codes, warps
from quant.tensor import QuantRows

BLOCK_F = 1024
"""Channels a program: 16 bytes for each of 128 lanes."""

LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def _gated(place, f, mask):
    """silu(gate) * up in fp32; gates at `place`, ups f further."""
    gate = tl.load(place, mask=mask, other=0.0).to(tl.float32)
    up = tl.load(place + f, mask=mask, other=0.0).to(tl.float32)
    return gate / (1.0 + tl.exp2(-gate * LOG2E)) * up


@triton.jit
def silu_gate_kernel(x_ptr, y_ptr, f, x_stride, BLOCK_F: tl.constexpr):
    """One program: BLOCK_F channels of one row."""
    row = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * BLOCK_F + tl.arange(0, BLOCK_F)
    mask = channel < f
    y = _gated(x_ptr + row * x_stride + channel, f, mask)
    tl.store(y_ptr + row * f + channel, y.to(y_ptr.dtype.element_ty), mask=mask)


@triton.jit
def silu_gate_rows_kernel(x_ptr, codes_ptr, scale_ptr, f, x_stride, BLOCK_F: tl.constexpr):
    """One program: a row."""
    row = tl.program_id(0).to(tl.int64) + tl.arange(0, 1)
    channel = tl.arange(0, BLOCK_F)[None]
    mask = channel < f
    y = _gated(x_ptr + row[:, None] * x_stride + channel, f, mask)
    y = y.to(x_ptr.dtype.element_ty).to(tl.float32)  # as the gate alone rounds
    codes, scale = row_codes(y)
    place = codes_ptr + row[:, None] * f + channel
    tl.store(place, codes.to(codes_ptr.dtype.element_ty), mask=mask)
    tl.store(scale_ptr + row, scale)


def silu_gate(gate_up: Tensor) -> Tensor:
    """As in `reference`, but rounded once."""
    l, f = gate_up.shape[0], gate_up.shape[1] // 2
    y = torch.empty(l, f, dtype=gate_up.dtype, device=gate_up.device)
    silu_gate_kernel[(l, triton.cdiv(f, BLOCK_F))](gate_up, y, f, gate_up.stride(0), BLOCK_F)
    return y


def silu_gate_rows(gate_up: Tensor) -> QuantRows:
    """As in `reference`; rows that a program can't hold go by way of memory."""
    l, f = gate_up.shape[0], gate_up.shape[1] // 2
    if f > LONGEST:
        return quantize_rows(silu_gate(gate_up))
    y = empty_rows(l, f, gate_up)
    block = triton.next_power_of_2(f)
    silu_gate_rows_kernel[(l,)](
        gate_up, y.codes, y.scale, f, gate_up.stride(0), BLOCK_F=block, num_warps=warps(block)
    )
    return y
