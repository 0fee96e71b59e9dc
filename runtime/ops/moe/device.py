"""The mixture on a GPU, where what the router picked is not brought to the host to be looked at."""

from __future__ import annotations

import torch
from torch import Tensor

from quant.ops.gemv import expert_gemv, expert_gemv_silu_gate
from quant.ops.matmul import grouped_matmul
from runtime.ops.linear import Weight
from runtime.ops.silu_gate import silu_gate


def by_rows(x: Tensor, weights: Tensor, experts: Tensor, gate_up: Weight, down: Weight) -> Tensor:
    """Few rows: each by each of its experts, as matrix-vector products, then their weighted sum.

    x [l, d], weights and experts [l, top_k], gate_up [x, 2f, d], down [x, d, f] -> [l, d].
    """
    l, top_k = experts.shape
    picked = experts.reshape(l * top_k)
    rows = x[:, None].expand(-1, top_k, -1).reshape(l * top_k, -1)
    y = expert_gemv(expert_gemv_silu_gate(rows, gate_up, picked), down, picked)
    return _combined(y.view(l, top_k, -1), weights)


def by_groups(x: Tensor, weights: Tensor, experts: Tensor, gate_up: Weight, down: Weight) -> Tensor:
    """Many rows: sorted by expert, one product a group, then as above; same arguments and result.

    fp8 never waits for the host; the other schemes do once a product, for the sizes of the groups.
    """
    l, top_k = experts.shape
    picked, order = experts.reshape(l * top_k).sort(stable=True)
    count = gate_up.shape[0]
    ends = torch.searchsorted(picked, torch.arange(count, device=x.device), right=True)
    y = grouped_matmul(x[order // top_k], gate_up, ends)
    y = grouped_matmul(silu_gate(y), down, ends)
    return _combined(y[order.argsort()].view(l, top_k, -1), weights)


def _combined(y: Tensor, weights: Tensor) -> Tensor:
    """y [l, top_k, d], weights [l, top_k] -> [l, d], summed in fp32 and in the order of top_k."""
    shares = weights.float()[..., None].unbind(1)
    first, *rest = zip(y.unbind(1), shares, strict=True)
    out = first[0].float() * first[1]
    for part, share in rest:
        out += part * share
    return out.to(y.dtype)
