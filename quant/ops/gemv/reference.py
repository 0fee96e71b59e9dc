"""Matrix-vector products in PyTorch: the weight is dequantized to x's dtype first."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from quant.ops.dequantize.reference import dequantize
from quant.tensor import QuantWeight


def gemv(x: Tensor, w: QuantWeight | Tensor) -> Tensor:
    """x [m, k] @ w [n, k].T -> [m, n] in x's dtype."""
    wide = w.to(x.dtype) if isinstance(w, Tensor) else dequantize(w, x.dtype)
    return functional.linear(x, wide)


def expert_gemv(x: Tensor, w: QuantWeight | Tensor, experts: Tensor) -> Tensor:
    """x [s, k], w [x, n, k], experts [s] -> [s, n]: row s by weight experts[s]."""
    picked = w[experts] if isinstance(w, Tensor) else dequantize(w[experts], x.dtype)  # [s, n, k]
    return torch.bmm(picked, x[..., None])[..., 0]


def gemv_silu_gate(x: Tensor, w: QuantWeight | Tensor) -> Tensor:
    """silu(g) * u [m, f] of [g, u] = gemv(x, w) [m, 2f]."""
    return _silu_gate(gemv(x, w))


def expert_gemv_silu_gate(x: Tensor, w: QuantWeight | Tensor, experts: Tensor) -> Tensor:
    """silu(g) * u [s, f] of [g, u] = expert_gemv(x, w, experts) [s, 2f]."""
    return _silu_gate(expert_gemv(x, w, experts))


def _silu_gate(gate_up: Tensor) -> Tensor:
    gate, up = gate_up.chunk(2, -1)
    return functional.silu(gate).mul_(up)
