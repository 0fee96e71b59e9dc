"""The calls that are compiled for a GPU: every kernel at the shapes of a Jamba Mini.

Weights are empty: nothing is computed.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import torch

from quant.ops.dequantize import kernel as dequantize
from quant.ops.gemv import kernel as gemv
from quant.ops.gemv import narrow_kernel, tensor_cores
from quant.ops.quantize_rows import kernel as quantize_rows
from quant.schemes import SCHEMES
from quant.tensor import QuantWeight
from runtime.ops.attention_step import kernel as attention_step
from runtime.ops.causal_conv import kernel as causal_conv
from runtime.ops.combine import kernel as combine
from runtime.ops.mamba_step import kernel as mamba_step
from runtime.ops.norm import kernel as norm
from runtime.ops.pick import kernel as pick
from runtime.ops.route import kernel as route
from runtime.ops.selective_scan import kernel as selective_scan
from runtime.ops.silu_gate import kernel as silu_gate

D, E, F, N, R, W, X, V = 4096, 8192, 14336, 16, 256, 4, 16, 65_536


def empty(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    """No memory is touched, so that it costs none."""
    return torch.empty(*shape, dtype=dtype)


def scan(l: int, dtype: torch.dtype = torch.bfloat16) -> None:
    """u and z are halves of one projection, B and C slices of another."""
    u, z = empty(l, 2 * E, dtype=dtype).chunk(2, -1)
    B, C = empty(l, 2 * N, dtype=dtype).chunk(2, -1)
    A, state = empty(2, N, E, dtype=torch.float32).unbind()
    D, bias = empty(2, E, dtype=torch.float32).unbind()
    selective_scan.selective_scan(u, empty(l, E, dtype=dtype), A, B, C, D, z, bias, state)


def conv(l: int) -> None:
    """x is half of a projection."""
    x, _ = empty(l, 2 * E).chunk(2, -1)
    causal_conv.causal_conv(x, empty(W - 1, E), empty(W, E), empty(E))


def step_of_mamba(e: int, r: int) -> None:
    """u is the convolution's, z half of a projection."""
    A, state = empty(2, N, e, dtype=torch.float32).unbind()
    D, bias = empty(2, e, dtype=torch.float32).unbind()
    norms = (empty(r), empty(N), empty(N))
    z, projected = empty(1, 2 * e)[:, e:], empty(1, r + 2 * N)
    mamba_step.mamba_step(
        empty(1, e), z, projected, norms, 1e-6, empty(e, r), A, D, bias, state
    )  # fmt: skip


def step_of_attention(h: int, count: int) -> None:
    """The keys of 256k tokens."""
    k = empty(count, 262_144, 128)
    position = empty(1, dtype=torch.int64)
    attention_step.attention_step(empty(h + 2 * count, 128), k, k, position)


def end_of_step() -> None:
    """The pick of a token."""
    scores, logits = empty(1, V), empty(V, dtype=torch.float32)
    pick.pick(scores, logits, empty(2, dtype=torch.float64), empty(2, dtype=torch.int64))


def stack(scheme: str) -> QuantWeight:
    """Two experts' gates and ups: what is compiled does not depend on how many there are."""
    meta = SCHEMES[scheme].empty((2, 2 * F, D), torch.device("meta"))
    return QuantWeight(
        meta.scheme, torch.empty_like(meta.codes, device="cpu"),
        torch.empty_like(meta.scale, device="cpu"),
    )  # fmt: skip


def experts(weight: QuantWeight | torch.Tensor) -> None:
    """Two picked experts for one token."""
    gemv.expert_gemv(empty(2, D), weight, empty(2, dtype=torch.int64))


def gated(weight: QuantWeight | torch.Tensor) -> None:
    """The same with the gate."""
    gemv.expert_gemv_silu_gate(empty(2, D), weight, empty(2, dtype=torch.int64))


def overlapped(module: ModuleType, call: Callable[[], object]) -> None:
    """By programmatic dependent launch of the module's kernels."""
    before = vars(module)["overlap"]
    vars(module)["overlap"] = lambda _: {"OVERLAP": True}
    try:
        call()
    finally:
        vars(module)["overlap"] = before


def routed() -> None:
    """One token's choice of experts."""
    route.route_sum(empty(1, D), empty(1, D), empty(D), 1e-6, empty(X, D), 2)


COMPILED: dict[str, Callable[[], object]] = {
    "scan of a chunk": lambda: scan(500),
    "scan of a token": lambda: scan(1),
    "scan in fp32": lambda: scan(63, torch.float32),
    "conv of a chunk": lambda: conv(500),
    "conv of a token": lambda: conv(1),
    "norm of a chunk": lambda: norm.rms_norm(empty(500, D), empty(D), 1e-6),
    "norm of a token": lambda: norm.rms_norm(empty(1, D), empty(D), 1e-6),
    "norm of B": lambda: norm.rms_norm(empty(500, 2 * N)[:, :N], empty(N), 1e-6),
    "norm to codes": lambda: norm.rms_norm_rows(empty(500, D), empty(D), 1e-6),
    "norm of a sum": lambda: norm.add_rms_norm(empty(500, D), empty(500, D), empty(D), 1e-6),
    "norm of a sum to codes": lambda: norm.add_rms_norm_rows(
        empty(500, D), empty(500, D), empty(D), 1e-6
    ),
    "norm of a sum of experts": lambda: norm.add_rms_norm(
        empty(1, D), empty(1, 2, D), empty(D), 1e-6, empty(1, 2)
    ),
    "step of Mamba": lambda: step_of_mamba(E, R),
    "step of Mamba in the 3B": lambda: step_of_mamba(5120, 160),
    "step of attention": lambda: step_of_attention(32, 8),
    "step of attention in the 3B": lambda: step_of_attention(20, 1),
    "step of Mamba after another kernel": lambda: overlapped(
        mamba_step, lambda: step_of_mamba(E, R)
    ),
    "router and its choice": routed,
    "router and its choice after another kernel": lambda: overlapped(route, routed),
    "gemv of few outputs": lambda: gemv.gemv(empty(1, E), empty(R + 2 * N, E)),
    "gemv of few outputs after another kernel": lambda: overlapped(
        narrow_kernel, lambda: gemv.gemv(empty(1, E), empty(R + 2 * N, E))
    ),
    "router's choice": lambda: route.likeliest_experts(empty(1, X), 2),
    "pick of a token": end_of_step,
    "gate": lambda: silu_gate.silu_gate(empty(500, 2 * F)),
    "gate to codes": lambda: silu_gate.silu_gate_rows(empty(500, 2 * F)),
    "combine": lambda: combine.combine(
        empty(1000, D), empty(500, 2), empty(500, 2, dtype=torch.int64)
    ),
    "gemv of experts in bf16": lambda: experts(empty(2, 2 * F, D)),
    "gated gemv of experts in bf16": lambda: gated(empty(2, 2 * F, D)),
}
for name in SCHEMES:
    COMPILED |= {
        f"gemv in {name}": lambda name=name: gemv.gemv(empty(1, D), stack(name)[0]),
        f"gemv of experts in {name}": lambda name=name: experts(stack(name)),
        f"gated gemv of experts in {name}": lambda name=name: gated(stack(name)),
        f"gated gemv in {name} of fp32": lambda name=name: gemv.gemv_silu_gate(
            empty(1, D, dtype=torch.float32), stack(name)[0]
        ),
        f"gemv in {name} after another kernel": lambda name=name: overlapped(
            tensor_cores, lambda: gemv.gemv(empty(1, D), stack(name)[0])
        ),
        f"gemv of experts in {name} after another kernel": lambda name=name: overlapped(
            tensor_cores, lambda: experts(stack(name))
        ),
        f"dequantize {name}": lambda name=name: dequantize.dequantize(
            stack(name)[0], torch.bfloat16
        ),
    }
COMPILED |= {
    "quantize rows": lambda: quantize_rows.quantize_rows(empty(500, D)),
    "quantize the longest rows": lambda: quantize_rows.quantize_rows(
        empty(500, quantize_rows.LONGEST)
    ),
    "gate to the longest codes": lambda: silu_gate.silu_gate_rows(
        empty(500, 2 * quantize_rows.LONGEST)
    ),
}
