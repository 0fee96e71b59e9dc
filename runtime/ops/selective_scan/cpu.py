"""The selective scan on a CPU: everything but one multiply-add a token is done in tiles.

A tile of tokens has all its exponentials, products with B and sums with C done by one call
each, sized so that the [tile, n, e] intermediates stay in the L2 cache.  Only the recurrence
itself goes token by token, as a single fused multiply-add over [n, e].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

TILE_ELEMENTS = 1 << 19
"""Elements of one tile's intermediates: 1 MiB of fp32, of which there are two."""


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
    """As in `reference`: the same arguments, the same result within fp32 rounding."""
    l, (n, e) = u.shape[0], A.shape
    x = u.float()
    delta = functional.softplus(dt.float() + dt_bias)
    drive = delta * x  # [l, e]
    rate = A * math.log2(math.e)  # exp2 is half the price of exp
    B, C = B.float(), C.float()
    tile = min(l, max(1, TILE_ELEMENTS // (n * e)))
    decays, inputs = torch.empty(2, tile, n, e).unbind()
    steps = list(zip(decays.unbind(), inputs.unbind(), strict=True))
    y = torch.empty(l, 1, e)
    h = state
    for start in range(0, l, tile):
        span = slice(start, min(start + tile, l))
        m = span.stop - start
        torch.mul(delta[span, None], rate, out=decays[:m]).exp2_()
        torch.mul(B[span, :, None], drive[span, None], out=inputs[:m])
        for decay, entry in steps[:m]:
            h = entry.addcmul_(decay, h)  # entry becomes the state after its token
        torch.bmm(C[span, None], inputs[:m], out=y[span])
        state.copy_(h)
        h = state
    y = y[:, 0].addcmul_(x, D)
    return y.mul_(functional.silu(z.float())).to(u.dtype)
