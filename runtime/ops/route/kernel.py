"""The choice on a GPU: softmax and top-k of a row in registers."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from quant.ops.overlap_kernel import overlap, wait_for_inputs


@triton.jit
def route_kernel(
    logits_ptr,
    weights_ptr,
    experts_ptr,
    x,
    TOP_K: tl.constexpr,
    BLOCK_X: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """One program: one row; of equal experts the first is picked."""
    wait_for_inputs(OVERLAP)
    row = tl.program_id(0).to(tl.int64)
    expert = tl.arange(0, BLOCK_X)
    mask = expert < x
    logits = tl.load(logits_ptr + row * x + expert, mask=mask, other=float("-inf"))
    logits = logits.to(tl.float32)
    share = tl.exp(logits - tl.max(logits, 0))
    share = share / tl.sum(share, 0)
    # NaN compares with nothing: as 0 it leaves every pick a real expert, and is stored as it is.
    left = tl.where(mask, tl.where(share == share, share, 0.0), -1.0)
    for k in tl.static_range(TOP_K):
        best = tl.argmax(left, 0)
        weight = tl.sum(tl.where(expert == best, share, 0.0), 0)
        place = row * TOP_K + k
        tl.store(weights_ptr + place, weight.to(weights_ptr.dtype.element_ty))
        tl.store(experts_ptr + place, best.to(tl.int64))
        left = tl.where(expert == best, -1.0, left)


def likeliest_experts(logits: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """As in `reference`."""
    l, x = logits.shape
    weights = torch.empty(l, top_k, dtype=logits.dtype, device=logits.device)
    experts = torch.empty(l, top_k, dtype=torch.int64, device=logits.device)
    block_x = triton.next_power_of_2(x)
    route_kernel[(l,)](
        logits, weights, experts, x, TOP_K=top_k, BLOCK_X=block_x, num_warps=1,
        **overlap(logits.device),
    )  # fmt: skip
    return weights, experts
