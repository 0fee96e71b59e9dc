"""The selective scan with its gradient: mamba-ssm's CUDA kernel, or a plain loop on the CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


class _CudaScan(torch.autograd.Function):
    """Shapes: u, dt, z [b, e, l]; A [e, n]; B, C [b, n, l]; D, bias [e] -> [b, e, l]."""

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        import selective_scan_cuda

        u, dt, A, B, C, D, z, bias = inputs
        B, C = B.unsqueeze(1), C.unsqueeze(1)
        out, states, gated = selective_scan_cuda.fwd(u, dt, A, B, C, D, z, bias, True)
        ctx.save_for_backward(u, dt, A, B, C, D, z, bias, states, out)
        result: Tensor = gated
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        import selective_scan_cuda

        u, dt, A, B, C, D, z, bias, states, out = ctx.saved_tensors
        grad = grads[0] if grads[0].stride(-1) == 1 else grads[0].contiguous()
        du, ddt, dA, dB, dC, dD, dbias, dz = selective_scan_cuda.bwd(
            u, dt, A, B, C, D, z, bias, grad, states, out, None, True, False
        )
        return du, ddt, dA, dB.squeeze(1), dC.squeeze(1), dD, dz, dbias


def reference_scan(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """The gated output [b, e, l] and the last state [b, e, n], token by token in fp32."""
    steps = functional.softplus(dt.float() + bias[:, None])  # [b, e, l]
    state = torch.zeros(*u.shape[:2], A.shape[1], device=u.device)
    outputs = []
    for t in range(u.shape[-1]):
        step = steps[:, :, t, None]
        entering = step * B[:, None, :, t].float() * u[:, :, t, None].float()
        state = torch.exp(step * A) * state + entering
        outputs.append((state * C[:, None, :, t].float()).sum(-1))
    y = torch.stack(outputs, -1) + u.float() * D[:, None]
    return (y * functional.silu(z.float())).to(u.dtype), state


def scan(*inputs: Tensor) -> Tensor:
    """The gated output of the scan, differentiable; inputs as `reference_scan` takes them."""
    if inputs[0].is_cuda:
        result: Tensor = _CudaScan.apply(*inputs)  # type: ignore[no-untyped-call]
        return result
    return reference_scan(*inputs)[0]


@torch.no_grad()
def scan_with_state(*inputs: Tensor) -> tuple[Tensor, Tensor]:
    """The gated output and the last state [b, e, n], for prefilling."""
    if not inputs[0].is_cuda:
        return reference_scan(*inputs)
    import selective_scan_cuda

    u, dt, A, B, C, D, z, bias = inputs
    _, states, gated = selective_scan_cuda.fwd(
        u, dt, A, B.unsqueeze(1), C.unsqueeze(1), D, z, bias, True
    )
    return gated, states[:, :, -1, 1::2]
