"""The mixture for few rows on a GPU: the host never learns which experts were picked."""

from __future__ import annotations

from torch import Tensor

from quant.ops.gemv import expert_gemv
from runtime.ops.linear import Weight
from runtime.ops.silu_gate import silu_gate


def by_rows(x: Tensor, weights: Tensor, experts: Tensor, gate_up: Weight, down: Weight) -> Tensor:
    """Each row by each of its experts, as matrix-vector products, then their weighted sum.

    x [l, d], weights and experts [l, top_k], gate_up [x, 2f, d], down [x, d, f] -> [l, d].
    """
    l, top_k = experts.shape
    picked = experts.reshape(l * top_k)
    rows = x[:, None].expand(-1, top_k, -1).reshape(l * top_k, -1)
    y = expert_gemv(silu_gate(expert_gemv(rows, gate_up, picked)), down, picked)
    shares = weights.float()[..., None]
    return (y.view(l, top_k, -1).float() * shares).sum(1).to(x.dtype)
