"""The selective scan of Mamba-1 as its recurrence says it, one token after another.

Source: Gu and Dao, Mamba, arXiv 2312.00752, algorithm 2; softplus, D and gate fused as in the
model's published code.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


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
    """Continues the recurrence from `state`, which is updated in place to the last token's.

    u, dt, z [l, e]; A [n, e] (negative) and state [n, e], D and dt_bias [e], all fp32;
    B, C [l, n] -> y [l, e] in u's dtype:

        delta = softplus(dt + dt_bias)
        state = exp(delta * A) * state + delta * B * u
        y = (C . state + D * u) * silu(z)

    All of it is computed in fp32 and rounded once at the end.
    """
    delta = functional.softplus(dt.float() + dt_bias)
    h, y = state, torch.empty_like(u, dtype=torch.float32)
    for t in range(u.shape[0]):
        decay = torch.exp(delta[t] * A)  # [n, e]
        h = decay * h + B[t].float()[:, None] * (delta[t] * u[t].float())
        y[t] = C[t].float() @ h + D * u[t].float()
    state.copy_(h)
    return (y * functional.silu(z.float())).to(u.dtype)
