"""The selective scan of Mamba-1 with the state carried in and out."""

from __future__ import annotations

from torch import Tensor

from runtime.ops.selective_scan import cpu, reference

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
    scan = cpu.selective_scan if u.device.type == "cpu" else reference.selective_scan
    return scan(u, dt, A, B, C, D, z, dt_bias, state)
