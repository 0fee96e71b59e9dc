"""A Mamba layer's recurrence for one token, from the raw dt, B and C to the gated output."""

from __future__ import annotations

from torch import Tensor

from quant.ops.dispatch import implementation

__all__ = ["mamba_step"]


def mamba_step(
    u: Tensor,
    z: Tensor,
    projected: Tensor,
    norms: tuple[Tensor, Tensor, Tensor],
    eps: float,
    dt_proj: Tensor,
    A: Tensor,
    D: Tensor,
    dt_bias: Tensor,
    state: Tensor,
) -> Tensor:
    """Picks the implementation by device; arguments and result as in `reference`."""
    way = implementation(__name__, u.device)
    y: Tensor = way.mamba_step(u, z, projected, norms, eps, dt_proj, A, D, dt_bias, state)
    return y
