"""The step on a GPU: keys are cut into parts, each read once for all the heads that share it.

How many parts there are is fixed by the cache's size and the device, how long they are by the
position, so that one captured graph serves every length.  The parts are merged by their
log-sum-exps.  After Dao et al., Flash-Decoding (2023).
"""

from __future__ import annotations

from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from quant.ops.overlap_kernel import overlap, wait_for_inputs

BLOCK_T = 64
"""Keys a step of a program."""

PROGRAMS_PER_SM = 2
"""Programs at once: each has two blocks of keys and of values on their way, 64 KiB in 16 bits."""

LEAST_ROWS = 16
"""Rows of the smallest tile of a matrix product: fewer query heads are padded."""

BLOCK_SPLITS, BLOCK_C = 32, 32
"""Parts merged at once, and channels a program of the merge."""

LOG2E = 1.4426950408889634


@triton.jit
def attend_kernel(
    heads_ptr, k_ptr, v_ptr, position_ptr, out_ptr, lse_ptr, h, p, head_stride, scale, splits,
    GROUP: tl.constexpr, BLOCK_G: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_T: tl.constexpr,
    PRODUCT: tl.constexpr, STAGES: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    """One program: one part of one key head's keys, for its GROUP query heads.

    Products are of PRODUCT's dtype and summed in fp32.  Parts past the last key write nothing.
    """
    wait_for_inputs(OVERLAP)
    head = tl.program_id(0)
    part = tl.program_id(1)
    position = tl.load(position_ptr).to(tl.int32)
    length = position + 1
    size = tl.cdiv(tl.cdiv(length, splits), BLOCK_T) * BLOCK_T
    start = part * size
    if start < length:
        end = tl.minimum(start + size, length)
        member = tl.arange(0, BLOCK_G)
        column = tl.arange(0, BLOCK_P)
        p_mask = column < p
        base = head.to(tl.int64) * head_stride
        if position < end:  # its part is the last one: the new key is among its own
            count = h // GROUP
            place = base + position.to(tl.int64) * p + column
            own = heads_ptr + (h + head) * p + column
            tl.store(k_ptr + place, tl.load(own, mask=p_mask, other=0.0), mask=p_mask)
            own_v = tl.load(own + count * p, mask=p_mask, other=0.0)
            tl.store(v_ptr + place, own_v, mask=p_mask)
            tl.debug_barrier()  # every lane sees them
        q_place = heads_ptr + (head * GROUP + member)[:, None] * p + column[None]
        q_mask = (member < GROUP)[:, None] & p_mask[None]
        q = tl.load(q_place, mask=q_mask, other=0.0).to(PRODUCT)
        highest = tl.full([BLOCK_G], float("-inf"), tl.float32)
        total = tl.zeros([BLOCK_G], tl.float32)
        sums = tl.zeros([BLOCK_G, BLOCK_P], tl.float32)
        for first in tl.range(start, end, BLOCK_T, num_stages=STAGES):
            key = first + tl.arange(0, BLOCK_T)
            tile = base + key.to(tl.int64)[:, None] * p + column[None]
            mask = (key < end)[:, None] & p_mask[None]
            k = tl.load(k_ptr + tile, mask=mask, other=0.0).to(PRODUCT)
            v = tl.load(v_ptr + tile, mask=mask, other=0.0).to(PRODUCT)
            scores = tl.dot(q, tl.trans(k), input_precision="ieee") * scale  # in powers of 2
            scores = tl.where((key < end)[None], scores, float("-inf"))
            higher = tl.maximum(highest, tl.max(scores, 1))
            fade = tl.exp2(highest - higher)
            shares = tl.exp2(scores - higher[:, None])
            total = total * fade + tl.sum(shares, 1)
            sums = sums * fade[:, None]
            sums += tl.dot(shares.to(PRODUCT), v, input_precision="ieee")
            highest = higher
        row = part * h + head * GROUP + member
        out_place = out_ptr + row[:, None] * p + column[None]
        tl.store(out_place, sums / total[:, None], mask=q_mask)
        tl.store(lse_ptr + row, highest + tl.log2(total), mask=member < GROUP)


@triton.jit
def merge_kernel(
    parts_ptr, lse_ptr, position_ptr, out_ptr, h, p, splits,
    BLOCK_T: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_C: tl.constexpr,
    OVERLAP: tl.constexpr,
):  # fmt: skip
    """One program: BLOCK_C channels of one query head, over the parts that hold keys."""
    wait_for_inputs(OVERLAP)
    head = tl.program_id(0)
    column = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    length = tl.load(position_ptr).to(tl.int32) + 1
    size = tl.cdiv(tl.cdiv(length, splits), BLOCK_T) * BLOCK_T
    filled = tl.cdiv(length, size)
    highest = tl.full([1], float("-inf"), tl.float32)
    total = tl.zeros([1], tl.float32)
    sums = tl.zeros([BLOCK_C], tl.float32)
    for first in range(0, filled, BLOCK_S):
        part = first + tl.arange(0, BLOCK_S)
        s_mask = part < filled
        lse = tl.load(lse_ptr + part * h + head, mask=s_mask, other=float("-inf"))
        higher = tl.maximum(highest, tl.max(lse, 0))
        fade = tl.exp2(highest - higher)
        shares = tl.exp2(lse - higher)
        place = parts_ptr + (part * h + head)[:, None] * p + column[None]
        values = tl.load(place, mask=s_mask[:, None] & (column < p)[None], other=0.0)
        total = total * fade + tl.sum(shares, 0)
        sums = sums * fade + tl.sum(shares[:, None] * values, 0)
        highest = higher
    out = (sums / total).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + head * p + column, out, mask=column < p)


def attention_step(heads: Tensor, k: Tensor, v: Tensor, position: Tensor) -> Tensor:
    """As in `reference`, without a word to the host; heads is contiguous."""
    count, max_tokens, p = k.shape
    h = heads.shape[0] - 2 * count
    splits = min(triton.cdiv(max_tokens, BLOCK_T), _parts(k.device, count))
    parts = torch.empty(splits, h, p, dtype=torch.float32, device=k.device)
    lse = torch.empty(splits, h, dtype=torch.float32, device=k.device)
    out = torch.empty(1, h * p, dtype=heads.dtype, device=k.device)
    group = h // count
    attend_kernel[(count, splits)](
        heads, k, v, position, parts, lse, h, p, k.stride(0), LOG2E * p**-0.5, splits,
        GROUP=group,
        BLOCK_G=max(LEAST_ROWS, triton.next_power_of_2(group)),
        BLOCK_P=max(LEAST_ROWS, triton.next_power_of_2(p)),
        BLOCK_T=BLOCK_T,
        PRODUCT=_product(k.dtype),
        STAGES=3 if k.dtype.itemsize == 2 else 1,
        **overlap(k.device),
    )  # fmt: skip
    merge_kernel[(h, triton.cdiv(p, BLOCK_C))](
        parts, lse, position, out, h, p, splits,
        BLOCK_T=BLOCK_T,
        BLOCK_S=BLOCK_SPLITS,
        BLOCK_C=BLOCK_C,
        **overlap(k.device),
    )  # fmt: skip
    return out


@cache
def _parts(device: torch.device, heads: int) -> int:
    """Parts of the keys of each of some heads that fill the device once."""
    gpu = device.type == "cuda"
    processors = torch.cuda.get_device_properties(device).multi_processor_count if gpu else 8
    return max(1, PROGRAMS_PER_SM * processors // heads)


def _product(dtype: torch.dtype) -> tl.dtype:
    """What products are made of: the interpreter has none of bf16."""
    interpreted = not isinstance(attend_kernel, triton.JITFunction)
    if dtype == torch.float32 or interpreted:
        return tl.float32
    return tl.float16 if dtype == torch.float16 else tl.bfloat16
