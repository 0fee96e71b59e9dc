"""The mixture of experts: every token goes to the few experts that its router picks."""

from __future__ import annotations

import torch
from torch import Tensor

from quant.linear import FEW_ROWS, takes_codes, takes_few
from quant.ops import gemv
from quant.ops.dispatch import KERNEL, choice
from quant.ops.matmul import w8a8
from quant.tensor import QuantWeight, Rows
from runtime.ops.linear import Weight, linear, widened
from runtime.ops.moe import onednn
from runtime.ops.moe.device import by_groups, by_rows
from runtime.ops.route import likeliest_experts
from runtime.ops.silu_gate import silu_gate, silu_gate_rows

BLOCK_ROWS = 256
"""Rows a CPU takes through a feed-forward at once, so that what lies between stays in cache."""


def route(x: Tensor, router: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """The router's choice: weights [l, top_k] in x's dtype and expert ids [l, top_k].

    x [l, d], router [x, d].  The softmax runs in fp32 over ALL experts; the weights that are
    left after top-k are not made to sum to one.
    """
    return likeliest_experts(linear(x, router), top_k)


def swiglu(x: Rows, gate_up: Weight, down: Weight, *, few: bool | None = None) -> Tensor:
    """down(silu(gate(x)) * up(x)); x [l, d], gate_up [2f, d] (gate first), down [d, f].

    `few` as in `linear`, given where the rows are what a router picked.
    """
    l = x.shape[0]
    if few is None and onednn.takes(x, gate_up, down):
        assert isinstance(x, Tensor)
        assert isinstance(gate_up, Tensor)
        assert isinstance(down, Tensor)
        return onednn.swiglu(x, widened(gate_up, x), widened(down, x))
    if x.device.type != "cpu" or l <= BLOCK_ROWS:
        return _swiglu(x, gate_up, down, few)
    block = BLOCK_ROWS
    if w8a8.takes(gate_up) and w8a8.takes(down):
        block = w8a8.BLOCK_ROWS
    elif isinstance(gate_up, QuantWeight) or isinstance(down, QuantWeight):
        return _swiglu(x, gate_up, down, few)  # each block would dequantize them anew
    assert isinstance(x, Tensor)
    if isinstance(gate_up, Tensor) and isinstance(down, Tensor):
        gate_up, down = widened(gate_up, x), widened(down, x)
    out = torch.empty(l, down.shape[0], dtype=x.dtype)
    for rows, result in zip(x.split(block), out.split(block), strict=True):
        result.copy_(_swiglu(rows, gate_up, down, few))
    return out


def _swiglu(x: Rows, gate_up: Weight, down: Weight, few: bool | None) -> Tensor:
    one_step = takes_few(gate_up, x.shape[0], few=few)
    if isinstance(gate_up, QuantWeight) and isinstance(x, Tensor) and one_step:
        return linear(gemv.gemv_silu_gate(x, gate_up), down, few=few)
    gate = silu_gate_rows if takes_codes(down, x.shape[0], few=few) else silu_gate
    return linear(gate(linear(x, gate_up, few=few)), down, few=few)


def moe(x: Tensor, router: Tensor, gate_up: Weight, down: Weight, top_k: int) -> Tensor:
    """The weighted sum of the picked experts' outputs.

    x [l, d], router [x, d], gate_up [x, 2f, d], down [x, d, f] -> [l, d].
    """
    weights, experts = route(x, router, top_k)
    few = x.shape[0] <= FEW_ROWS  # by the chunk: what an expert computes must not depend on luck
    if few and choice(gemv.__name__, x.device.type) == KERNEL:
        return by_rows(x, weights, experts, gate_up, down)
    if not few and x.device.type == "cuda":
        return by_groups(x, weights, experts, gate_up, down)
    out = torch.zeros_like(x)
    for expert in experts.unique().tolist():
        token, slot = torch.nonzero(experts == expert, as_tuple=True)
        y = swiglu(x[token], gate_up[expert], down[expert], few=few)
        out.index_add_(0, token, y.mul_(weights[token, slot, None]))
    return out
