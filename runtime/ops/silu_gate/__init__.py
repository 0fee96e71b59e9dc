"""The gate of a feed-forward: silu(gate) * up, of the two halves of one projection."""

from __future__ import annotations

from torch import Tensor

from quant.ops.dispatch import implementation
from quant.tensor import QuantRows

__all__ = ["silu_gate", "silu_gate_rows"]


def silu_gate(gate_up: Tensor) -> Tensor:
    """Picks the implementation by device; argument and result as in `reference`."""
    y: Tensor = implementation(__name__, gate_up.device).silu_gate(gate_up)
    return y


def silu_gate_rows(gate_up: Tensor) -> QuantRows:
    """The same, for a product that quantizes its activations."""
    y: QuantRows = implementation(__name__, gate_up.device).silu_gate_rows(gate_up)
    return y
