"""The selective scan by mamba-ssm's CUDA kernel, where it can: it always starts from nothing.

So it reads a document's first chunk, and our own kernel what follows.  It wants the tokens of a
channel side by side, which costs a transposition of each input and of the output.
"""

from __future__ import annotations

from torch import Tensor

from runtime.ops.selective_scan import kernel


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
    """As in `reference`; waits for the GPU, to see whether there is a state to go on from."""
    if u.shape[0] == 1 or bool(state.any()):
        return kernel.selective_scan(u, dt, A, B, C, D, z, dt_bias, state)
    import selective_scan_cuda

    u, dt, z, B, C = (x.t().contiguous()[None] for x in (u, dt, z, B, C))  # [1, e or n, l]
    _, states, gated = selective_scan_cuda.fwd(
        u, dt, A.t().contiguous(), B[:, None], C[:, None], D, z, dt_bias, True
    )
    # Of each stretch of tokens it leaves pairs of decay and state: the last state is wanted.
    state.copy_(states[0, :, -1, 1::2].t())
    y: Tensor = gated[0].t().contiguous()
    return y
