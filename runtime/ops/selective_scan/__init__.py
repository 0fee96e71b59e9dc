"""The selective scan of Mamba-1 with the state carried in and out."""

from __future__ import annotations

from torch import Tensor

from quant.ops.dispatch import implementation

__all__ = ["selective_scan"]


def selective_scan(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor,
    dt_bias: Tensor,
    state: Tensor,
) -> Tensor:
    """Picks the implementation by device; arguments and result as in `reference`."""
    way = implementation(__name__, u.device)
    y: Tensor = way.selective_scan(u, dt, A, B, C, D, z, dt_bias, state)
    return y
