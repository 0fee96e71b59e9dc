"""The mixture on a GPU, where what the router picked is not brought to the host to be looked at."""

from __future__ import annotations

import torch
from torch import Tensor

from quant.ops.gemv import expert_gemv, expert_gemv_silu_gate
from quant.ops.matmul import grouped_matmul, quantizes
from quant.ops.quantize_rows import quantize_rows
from quant.tensor import Rows
from runtime.ops.combine import combine
from runtime.ops.linear import Weight
from runtime.ops.silu_gate import silu_gate, silu_gate_rows


def by_rows(x: Tensor, weights: Tensor, experts: Tensor, gate_up: Weight, down: Weight) -> Tensor:
    """Few rows: each by each of its experts, as matrix-vector products, then their weighted sum.

    x [l, d], weights and experts [l, top_k], gate_up [x, 2f, d], down [x, d, f] -> [l, d].
    """
    l, top_k = experts.shape
    picked = experts.reshape(l * top_k)
    rows = x[:, None].expand(-1, top_k, -1).reshape(l * top_k, -1)
    y = expert_gemv(expert_gemv_silu_gate(rows, gate_up, picked), down, picked)
    return combine(y, weights)


def by_groups(x: Tensor, weights: Tensor, experts: Tensor, gate_up: Weight, down: Weight) -> Tensor:
    """Many rows: sorted by expert, one product a group, then as above; same arguments and result.

    fp8 never waits for the host; the other schemes do once, for the sizes of the groups.
    """
    tokens, places, ends = grouped(experts, gate_up.shape[0])
    here = ends if quantizes(gate_up) and quantizes(down) else ends.cpu()
    first, second = (ends if quantizes(w) else here for w in (gate_up, down))
    # A token's codes are the same for all of its experts.
    rows: Rows = quantize_rows(x) if quantizes(gate_up) else x
    gate = silu_gate_rows if quantizes(down) else silu_gate
    # Nothing in between has a name, so that it is free once it has been read.
    y = grouped_matmul(gate(grouped_matmul(rows[tokens], gate_up, first)), down, second)
    return combine(y, weights, places)


def grouped(experts: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The picks [l, top_k] of `count` experts, sorted by expert and then by token.

    Returns the token of each pick, the place of each token's picks [l, top_k] in that order, and
    the row after each expert's.
    """
    l, top_k = experts.shape
    # A radix sort passes over its keys once for each byte of them.
    picked, order = experts.reshape(l * top_k).to(torch.int16).sort(stable=True)
    known = torch.arange(count, dtype=torch.int16, device=experts.device)
    ends = torch.searchsorted(picked, known, right=True, out_int32=True)
    ranks = torch.arange(l * top_k, device=experts.device)
    places = torch.empty_like(order).scatter_(0, order, ranks)
    return order // top_k, places.view(l, top_k), ends
