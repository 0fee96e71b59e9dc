"""The gate in PyTorch."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from quant.ops.quantize_rows.reference import quantize_rows
from quant.tensor import QuantRows


def silu_gate(gate_up: Tensor) -> Tensor:
    """gate_up [l, 2f], the gates first -> silu(gate) * up [l, f]."""
    gate, up = gate_up.chunk(2, -1)
    return functional.silu(gate).mul_(up)


def silu_gate_rows(gate_up: Tensor) -> QuantRows:
    """The same, rounded to gate_up's dtype and then to e4m3 by rows."""
    return quantize_rows(silu_gate(gate_up))
