"""The pick on a GPU: the highest of each part of the vocabulary, then the highest of those."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from quant.ops.overlap_kernel import overlap, wait_for_inputs

BLOCK_V = 1024
"""Scores a program of the first kernel."""


@triton.jit
def _best(values, ids):
    """Of some values the highest and its id, the lowest of equal ones; NaN is above all."""
    keys = tl.where(values == values, values, float("inf"))
    top = tl.max(keys, 0)
    best = tl.min(tl.where(keys == top, ids, 2147483647), 0)
    return tl.sum(tl.where(ids == best, values, 0.0), 0), best


@triton.jit
def part_kernel(
    scores_ptr, logits_ptr, values_ptr, ids_ptr, v, BLOCK_V: tl.constexpr, OVERLAP: tl.constexpr
):
    """One program: BLOCK_V scores."""
    wait_for_inputs(OVERLAP)
    pid = tl.program_id(0)
    token = pid * BLOCK_V + tl.arange(0, BLOCK_V)
    mask = token < v
    scores = tl.load(scores_ptr + token, mask=mask, other=float("-inf")).to(tl.float32)
    tl.store(logits_ptr + token, scores, mask=mask)
    value, best = _best(scores, token)
    tl.store(values_ptr + pid, value)
    tl.store(ids_ptr + pid, best)


@triton.jit
def pick_kernel(
    values_ptr, ids_ptr, picked_ptr, inputs_ptr, parts, BLOCK: tl.constexpr, OVERLAP: tl.constexpr
):
    """One program: the best of the parts."""
    wait_for_inputs(OVERLAP)
    part = tl.arange(0, BLOCK)
    mask = part < parts
    values = tl.load(values_ptr + part, mask=mask, other=float("-inf"))
    ids = tl.load(ids_ptr + part, mask=mask, other=2147483647)
    value, best = _best(values, ids)
    tl.store(picked_ptr, best.to(tl.float64))
    tl.store(picked_ptr + 1, value.to(tl.float64))
    tl.store(inputs_ptr, best.to(tl.int64))
    tl.store(inputs_ptr + 1, tl.load(inputs_ptr + 1) + 1)


def pick(scores: Tensor, logits: Tensor, picked: Tensor, inputs: Tensor) -> None:
    """As in `reference`."""
    v = scores.shape[1]
    parts = triton.cdiv(v, BLOCK_V)
    values = torch.empty(parts, dtype=torch.float32, device=scores.device)
    ids = torch.empty(parts, dtype=torch.int32, device=scores.device)
    part_kernel[(parts,)](scores, logits, values, ids, v, BLOCK_V=BLOCK_V, **overlap(scores.device))
    block = triton.next_power_of_2(parts)
    pick_kernel[(1,)](values, ids, picked, inputs, parts, BLOCK=block, **overlap(scores.device))
