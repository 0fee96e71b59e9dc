"""The gate in PyTorch."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def silu_gate(gate_up: Tensor) -> Tensor:
    """gate_up [l, 2f], the gates first -> silu(gate) * up [l, f]."""
    gate, up = gate_up.chunk(2, -1)
    return functional.silu(gate).mul_(up)
