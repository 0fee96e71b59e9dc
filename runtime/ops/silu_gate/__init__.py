"""The gate of a feed-forward: silu(gate) * up, of the two halves of one projection."""

from __future__ import annotations

from torch import Tensor

from quant.ops.dispatch import implementation

__all__ = ["silu_gate"]


def silu_gate(gate_up: Tensor) -> Tensor:
    """Picks the implementation by device; argument and result as in `reference`."""
    y: Tensor = implementation(__name__, gate_up.device).silu_gate(gate_up)
    return y
