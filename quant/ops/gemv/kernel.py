"""Matrix-vector products on a GPU: codes are read once and multiplied in fp32.

A program owns a few outputs of one row of x and walks along k.  Rows that share a weight are
neighbours in the grid, so that the second finds its codes in the L2 cache.

Activations in bf16 go by tensor cores where their instructions and alignments allow it; the
kernels of this file are for the rest: fp32, odd sizes, old GPUs, and Triton's interpreter.
"""

from __future__ import annotations

from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from quant.ops import nf4
from quant.ops.gemv import narrow_kernel, tensor_cores
from quant.ops.gemv.kernel_parts import gated
from quant.ops.overlap_kernel import overlap, wait_for_inputs
from quant.tensor import QuantWeight

BLOCKS = {1: (4, 1024, 2), 2: (4, 512, 2), 0.5: (8, 512, 2)}
"""Outputs a program, weights along k a step, and warps, by bytes a weight."""


@triton.jit
def gemv_kernel(
    x_ptr, codes_ptr, scale_ptr, expert_ptr, y_ptr, n, k, x_stride,
    SCALED: tl.constexpr, EXPERTS: tl.constexpr, GATE: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK_N outputs of row s; the sum along k is made once, at the end."""
    wait_for_inputs(OVERLAP)
    s = tl.program_id(0).to(tl.int64)
    outputs = n // 2 if GATE else n
    row = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    expert = tl.load(expert_ptr + s).to(tl.int64) if EXPERTS else 0
    place = expert * n + row.to(tl.int64)  # of the weight's row in the stack
    codes_place = codes_ptr + place[:, None] * k
    column = tl.arange(0, BLOCK_K)
    total = tl.zeros([BLOCK_N, BLOCK_K], tl.float32)
    if GATE:
        up = tl.zeros([BLOCK_N, BLOCK_K], tl.float32)
    for start in range(0, k, BLOCK_K):
        at = start + column
        mask = (row < outputs)[:, None] & (at < k)[None]
        codes = tl.load(codes_place + at[None], mask=mask, other=0.0)
        # Read once a row, from the L1 cache: so it comes in the layout of the codes, and needs no
        # way through shared memory, for which the warps would wait for each other.
        x_place = tl.broadcast_to((x_ptr + s * x_stride + at)[None], [BLOCK_N, BLOCK_K])
        x = tl.load(x_place, mask=mask, other=0.0).to(tl.float32)
        total += codes.to(tl.float32) * x
        if GATE:
            up_place = codes_place + (outputs.to(tl.int64) * k + at[None])
            up += tl.load(up_place, mask=mask, other=0.0).to(tl.float32) * x
    y = tl.sum(total, 1)
    if SCALED:
        y *= tl.load(scale_ptr + place, mask=row < outputs, other=0.0)
    dtype: tl.constexpr = y_ptr.dtype.element_ty
    if GATE:
        u = tl.sum(up, 1)
        if SCALED:
            u *= tl.load(scale_ptr + place + outputs, mask=row < outputs, other=0.0)
        y = gated(y.to(dtype), u.to(dtype))
    tl.store(y_ptr + s * outputs + row, y.to(dtype), mask=row < outputs)


@triton.jit
def gemv_nf4_kernel(
    x_ptr, codes_ptr, scale_ptr, levels_ptr, expert_ptr, y_ptr, n, k, x_stride,
    EXPERTS: tl.constexpr, GATE: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """As above for pairs of codes in a byte and a scale for each GROUP of weights along k."""
    s = tl.program_id(0).to(tl.int64)
    outputs = n // 2 if GATE else n
    row = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    expert = tl.load(expert_ptr + s).to(tl.int64) if EXPERTS else 0
    place = expert * n + row.to(tl.int64)
    x_ptr += s * x_stride
    y = _nf4_sums(
        x_ptr, codes_ptr, scale_ptr, levels_ptr, place, row < outputs, k, BLOCK_N, BLOCK_K, GROUP
    )
    dtype: tl.constexpr = y_ptr.dtype.element_ty
    if GATE:
        up = _nf4_sums(
            x_ptr, codes_ptr, scale_ptr, levels_ptr, place + outputs, row < outputs, k,
            BLOCK_N, BLOCK_K, GROUP,
        )  # fmt: skip
        y = gated(y.to(dtype), up.to(dtype))
    tl.store(y_ptr + s * outputs + row, y.to(dtype), mask=row < outputs)


@triton.jit
def _nf4_sums(
    x_ptr, codes_ptr, scale_ptr, levels_ptr, place, there, k,
    BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    """x by the weight's rows at `place`."""
    HALF: tl.constexpr = GROUP // 2  # bytes of a group
    GROUPS: tl.constexpr = BLOCK_K // GROUP
    group, byte = tl.arange(0, GROUPS), tl.arange(0, HALF)
    groups = k // GROUP
    total = tl.zeros([BLOCK_N, GROUPS], tl.float32)
    for start in range(0, groups, GROUPS):
        at = start + group
        mask = there[:, None] & (at < groups)[None]
        element = at[:, None] * GROUP + tl.arange(0, GROUP)[None]
        x = tl.load(x_ptr + element, mask=(at < groups)[:, None], other=0.0)
        earlier, later = tl.split(tl.reshape(x.to(tl.float32), [GROUPS, HALF, 2]))
        pair = (place[:, None] * groups + at[None])[:, :, None] * HALF + byte[None, None]
        codes = tl.load(codes_ptr + pair, mask=mask[:, :, None], other=0).to(tl.int32)
        # 64 bytes of levels: a look-up of 32 lanes is one access to the L1 cache.
        high, low = tl.load(levels_ptr + (codes >> 4)), tl.load(levels_ptr + (codes & 15))
        part = tl.sum(high * earlier[None] + low * later[None], 2)
        scale = tl.load(scale_ptr + place[:, None] * groups + at[None], mask=mask, other=0.0)
        total += part * scale.to(tl.float32)
    return tl.sum(total, 1)


@cache
def levels(device: torch.device) -> Tensor:
    """The 16 levels of NF4 in a device's memory."""
    return torch.tensor(nf4.LEVELS, dtype=torch.float32, device=device)


def gemv(x: Tensor, w: QuantWeight | Tensor) -> Tensor:
    """As in `reference`, but with the weight in fp32."""
    return _launch(x, w, None, gate=False)


def gemv_silu_gate(x: Tensor, w: QuantWeight | Tensor) -> Tensor:
    """As in `reference`, but with the weight in fp32, and with one rounding behind the gate."""
    return _launch(x, w, None, gate=True)


def expert_gemv(x: Tensor, w: QuantWeight | Tensor, experts: Tensor) -> Tensor:
    """As in `reference`, but with the weight in fp32."""
    return _launch(x, w, experts.contiguous(), gate=False)


def expert_gemv_silu_gate(x: Tensor, w: QuantWeight | Tensor, experts: Tensor) -> Tensor:
    """As in `reference`, but with the weight in fp32, and with one rounding behind the gate."""
    return _launch(x, w, experts.contiguous(), gate=True)


def _launch(x: Tensor, w: QuantWeight | Tensor, experts: Tensor | None, *, gate: bool) -> Tensor:
    codes, scale = (w, None) if isinstance(w, Tensor) else (w.codes, w.scale)
    s, n = x.shape[0], codes.shape[-2]
    y = torch.empty(s, n // 2 if gate else n, dtype=x.dtype, device=x.device)
    if experts is None and not gate and scale is None and narrow_kernel.fits(codes):
        narrow_kernel.launch(x, codes, y)
        return y
    if tensor_cores.fits(x, codes, scale):
        tensor_cores.launch(x, codes, scale, experts, y, gate=gate)
        return y
    k = x.shape[1]
    packed = 2 * codes.shape[-1] == k
    block_n, block_k, warps = BLOCKS[0.5 if packed else min(2, codes.element_size())]
    block_n = max(1, block_n // 2) if gate else block_n  # two rows an output
    grid = (s, triton.cdiv(y.shape[1], block_n))
    common = {"EXPERTS": experts is not None, "GATE": gate, "BLOCK_N": block_n}
    common |= {"BLOCK_K": block_k, "num_warps": warps}
    if packed:
        gemv_nf4_kernel[grid](
            x, codes, scale, levels(x.device), experts, y, n, k, x.stride(0),
            GROUP=nf4.BLOCK_SIZE,
            **common,
        )  # fmt: skip
    else:
        gemv_kernel[grid](
            x, codes, scale, experts, y, n, k, x.stride(0),
            SCALED=scale is not None,
            **common,
            **overlap(x.device),
        )  # fmt: skip
    return y
