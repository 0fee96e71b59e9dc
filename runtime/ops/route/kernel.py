"""The choice on a GPU: softmax and top-k of a row in registers."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from quant.ops.overlap_kernel import overlap, wait_for_inputs
from runtime.ops.norm.kernel import normed
from runtime.ops.route import reference

MOST_BYTES = 1 << 17
"""Of a router, in the registers of one program: half of a multiprocessor's."""

WARPS = 8
"""Each has some columns of all experts, so that a choice among them stays in a lane."""


@triton.jit
def _choose(
    logits, weights_ptr, experts_ptr, x, row, TOP_K: tl.constexpr, BLOCK_X: tl.constexpr
):  # fmt: skip
    """Stores a row's choice; of equal experts the first is picked."""
    expert = tl.arange(0, BLOCK_X)
    mask = expert < x
    logits = tl.where(mask, logits.to(tl.float32), float("-inf"))
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


@triton.jit
def route_kernel(
    logits_ptr, weights_ptr, experts_ptr, x,
    TOP_K: tl.constexpr, BLOCK_X: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    """One program: one row."""
    wait_for_inputs(OVERLAP)
    row = tl.program_id(0).to(tl.int64)
    expert = tl.arange(0, BLOCK_X)
    logits = tl.load(logits_ptr + row * x + expert, mask=expert < x, other=0.0)
    _choose(logits, weights_ptr, experts_ptr, x, row, TOP_K, BLOCK_X)


@triton.jit
def route_sum_kernel(
    x_ptr, add_ptr, weight_ptr, router_ptr, y_ptr, weights_ptr, experts_ptr, x, d, eps,
    TOP_K: tl.constexpr, BLOCK_X: tl.constexpr, BLOCK_D: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    """The only program, which asks for the router and the norm's weight before it waits."""
    expert, column = tl.arange(0, BLOCK_X)[:, None], tl.arange(0, BLOCK_D)[None]
    there = column < d
    place = expert * d + column
    router = tl.load(router_ptr + place, mask=(expert < x) & there, other=0.0)
    weight = tl.load(weight_ptr + column, mask=there, other=0.0)
    wait_for_inputs(OVERLAP)
    stream = tl.load(x_ptr + column, mask=there, other=0.0).to(tl.float32)
    add = tl.load(add_ptr + column, mask=there, other=0.0).to(tl.float32)
    dtype = x_ptr.dtype.element_ty
    rounded = (stream + add).to(dtype)
    tl.store(x_ptr + column, rounded, mask=there)
    y = normed(rounded.to(tl.float32), weight, d, eps, dtype)
    tl.store(y_ptr + column, y, mask=there)
    logits = tl.sum(router.to(tl.float32) * y.to(tl.float32), 1).to(dtype)
    _choose(logits, weights_ptr, experts_ptr, x, 0, TOP_K, BLOCK_X)


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


def route_sum(
    x: Tensor, add: Tensor, weight: Tensor, eps: float, router: Tensor, top_k: int
) -> tuple[Tensor, Tensor, Tensor]:
    """As in `reference`, in one kernel if a program can hold the router."""
    count, d = router.shape
    block_x, block_d = triton.next_power_of_2(count), triton.next_power_of_2(d)
    if block_x * block_d * router.element_size() > MOST_BYTES:
        return reference.route_sum(x, add, weight, eps, router, top_k)
    y = torch.empty(1, d, dtype=x.dtype, device=x.device)
    weights = torch.empty(1, top_k, dtype=x.dtype, device=x.device)
    experts = torch.empty(1, top_k, dtype=torch.int64, device=x.device)
    route_sum_kernel[(1,)](
        x, add.contiguous(), weight, router, y, weights, experts, count, d, eps,
        TOP_K=top_k,
        BLOCK_X=block_x,
        BLOCK_D=block_d,
        num_warps=WARPS,
        **overlap(x.device),
    )  # fmt: skip
    return y, weights, experts
