"""What a chunk of tokens takes beyond weights and states: the tensors that live at its widest.

Counted from the forward pass, in numbers a token, for the layer that holds the most at once.  The
CPU's way is checked against measured peaks (tests/benchmarks/memory_plan.py); the GPU's follows
the same code with activations in 16 bits and has not been measured.
"""

from __future__ import annotations

import torch

from runtime.config import JambaConfig
from runtime.devices import Precision
from runtime.quantization import Quantization

CPU_LIBRARIES_BYTES = 40_000_000
"""What PyTorch's CPU libraries and their threads take on first use, as measured."""


def workspace_bytes(
    config: JambaConfig,
    chunk_tokens: int,
    *,
    cpu: bool,
    precision: Precision,
    quantization: Quantization | None,
) -> int:
    """Bytes of the widest moment of a chunk, and of the widest weight that is widened for it."""
    numbers = max(
        _mamba(config, cpu=cpu), _attention(config, cpu=cpu), _feed_forward(config, cpu=cpu)
    )
    size = precision.activations.itemsize
    scratch = _scratch(config, precision, quantization, cpu=cpu)
    return chunk_tokens * numbers * size + scratch + (CPU_LIBRARIES_BYTES if cpu else 0)


def _mamba(config: JambaConfig, *, cpu: bool) -> int:
    """The residual and its norm, x and z, the convolved x, dt, the scan's parts and its result."""
    d, e = config.hidden_size, config.mamba_inner_size
    # The CPU's scan makes softplus(dt), its product with x, y and silu(z); a kernel only y.
    return 2 * d + (8 if cpu else 5) * e + config.mamba_dt_rank + 2 * config.mamba_d_state


def _attention(config: JambaConfig, *, cpu: bool) -> int:
    """Queries, keys and values, their copies by head, two partial results, their sum."""
    d, kv = config.hidden_size, config.num_kv_heads * config.head_dim
    return 2 * d + (d + 2 * kv) + (7 if cpu else 5) * d


def _feed_forward(config: JambaConfig, *, cpu: bool) -> int:
    """Gate and up, the gated product, the result: on a CPU of one expert after the other."""
    d, f = config.hidden_size, config.intermediate_size
    if all(kind.feed_forward == "mlp" for kind in config.layer_kinds):
        return 3 * d + 3 * f
    at_once = 1 if cpu else config.experts_per_token
    return 3 * d + at_once * (2 * d + 3 * f)


def _scratch(
    config: JambaConfig, precision: Precision, quantization: Quantization | None, *, cpu: bool
) -> int:
    """The widest weight in the activations' dtype, where weights are kept in another."""
    d, f, e = config.hidden_size, config.intermediate_size, config.mamba_inner_size
    widest = max(2 * f * d, 2 * e * d)
    same = precision.weights == precision.activations
    if quantization is None:
        return 0 if same else widest * precision.activations.itemsize
    if not cpu and quantization.scheme.code_dtype == torch.float8_e4m3fn:
        return 0  # fp8 products read the codes
    # In PyTorch NF4 codes are looked up by indices, of 32 and then 64 bits for two weights.
    indices = 6 if cpu and quantization.scheme.name == "nf4" else 0
    return widest * (precision.activations.itemsize + indices)
