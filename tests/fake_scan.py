"""Stands in for mamba-ssm's `selective_scan_cuda`: its arguments and results, in PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def fwd(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor,
    delta_bias: Tensor,
    delta_softplus: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """u, delta, z [b, e, l], A [e, n], B, C [b, 1, n, l] -> y and gated [b, e, l], pairs.

    As the extension, it refuses other layouts and dtypes; pairs are [b, e, 1, 2n].
    """
    assert all(x.stride(-1) == 1 for x in (u, delta, B, C, z))
    assert all(x.dtype == torch.float32 for x in (A, D, delta_bias))
    assert all(x.dtype == u.dtype for x in (delta, B, C, z))
    (batch, e, length), n = u.shape, A.shape[1]
    assert B.shape == C.shape == (batch, 1, n, length)
    step = delta.float() + delta_bias[:, None]
    step = functional.softplus(step) if delta_softplus else step
    state, decay = torch.zeros(batch, e, n), torch.ones(batch, e, n)
    y = torch.empty(batch, e, length)
    for t in range(length):
        factor = torch.exp(step[:, :, t, None] * A)
        state = factor * state + (step[:, :, t] * u[:, :, t].float())[..., None] * B[..., t].float()
        decay = decay * factor
        y[:, :, t] = (state * C[..., t].float()).sum(-1) + D * u[:, :, t].float()
    pairs = torch.stack([decay, state], -1).view(batch, e, 1, 2 * n)
    return y.to(u.dtype), pairs, (y * functional.silu(z.float())).to(u.dtype)
