"""The step as the parts that a chunk is computed by, one after another."""

from __future__ import annotations

from torch import Tensor

from runtime.ops.linear import linear
from runtime.ops.norm import rms_norm
from runtime.ops.selective_scan import selective_scan


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
    """Normalizes dt, B and C, projects dt up and moves the state on by one token, in place.

    u, z [1, e]; projected [1, r + 2n]: dt, B and C side by side; norms: the weights [r], [n], [n]
    of their norms; dt_proj [e, r]; A, state [n, e], D, dt_bias [e], all fp32 -> y [1, e].
    """
    n, r = A.shape[0], dt_proj.shape[1]
    parts = projected.split([r, n, n], -1)
    dt, B, C = (rms_norm(part, norm, eps) for part, norm in zip(parts, norms, strict=True))
    return selective_scan(u, linear(dt, dt_proj, exact=True), A, B, C, D, z, dt_bias, state)
