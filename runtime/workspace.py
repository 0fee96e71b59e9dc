"""What a chunk of tokens takes beyond weights and states: the tensors that live at its widest.

Counted from the forward pass, by token, for the layer that holds the most at once.  Both ways are
checked against measured peaks: the CPU's by tests/benchmarks/memory_plan.py, the GPU's by
tests/runtime/test_quantized_gpu.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from quant.schemes import CPU_SCHEMES
from runtime.config import JambaConfig
from runtime.devices import Precision
from runtime.model import Part
from runtime.quantization import Quantization

CPU_LIBRARIES_BYTES = 48_000_000
"""What PyTorch's CPU libraries and their threads take on first use, as measured."""

CPU_KERNELS_BYTES = 18_000_000
"""What oneDNN compiles for the shapes of feed-forwards and attention in 16 bits, as measured."""

GPU_LIBRARIES_BYTES = 2 * 32 * 2**20
"""The workspaces of cuBLAS and of cuBLASLt, as PyTorch allocates them for a Hopper GPU."""


def workspace_bytes(
    config: JambaConfig,
    chunk_tokens: int,
    *,
    cpu: bool,
    precision: Precision,
    quantization: Quantization | None,
    mixed: bool = False,
) -> int:
    """Bytes of the widest moment of a chunk, and of the widest weight that is widened for it.

    `mixed` says that layers which could be quantized stay in 16 bits.
    """
    size = precision.activations.itemsize
    if cpu:
        each = size * max(_mamba(config), _attention(config), _feed_forward(config))
    else:
        gpu = _Gpu(config, size, quantization)
        each = max(gpu.mamba(), gpu.attention(), gpu.feed_forward())
    scratch = _scratch(config, precision, quantization, cpu=cpu)
    libraries = CPU_LIBRARIES_BYTES if cpu else GPU_LIBRARIES_BYTES
    narrow = (quantization is None or mixed) and precision.weights != precision.activations
    if cpu and (narrow or _in_8_bits(quantization)):
        libraries += CPU_KERNELS_BYTES
    return chunk_tokens * each + scratch + libraries


def _in_8_bits(quantization: Quantization | None) -> bool:
    return quantization is not None and quantization.scheme.name in CPU_SCHEMES


def _mamba(config: JambaConfig) -> int:
    """The residual and its norm, x and z, the convolved x, dt, the scan's parts and its result."""
    d, e = config.hidden_size, config.mamba_inner_size
    # The scan makes softplus(dt), its product with x, y and silu(z).
    return 2 * d + 8 * e + config.mamba_dt_rank + 2 * config.mamba_d_state


def _attention(config: JambaConfig) -> int:
    """Queries, keys and values, their copies by head, two partial results, their sum."""
    d, kv = config.hidden_size, config.num_kv_heads * config.head_dim
    return 2 * d + (d + 2 * kv) + 7 * d


def _feed_forward(config: JambaConfig) -> int:
    """Gate and up, the gated product, the result: of one expert after the other."""
    d, f = config.hidden_size, config.intermediate_size
    if all(kind.feed_forward == "mlp" for kind in config.layer_kinds):
        return 3 * d + 3 * f
    return 3 * d + (2 * d + 3 * f)


@dataclass(frozen=True, slots=True)
class _Gpu:
    """The same in bytes a token, where fp8 products are given codes and kernels keep no parts."""

    config: JambaConfig
    size: int  # of an activation
    quantization: Quantization | None

    def _codes(self, part: Part) -> bool:
        chosen = self.quantization
        if chosen is None or chosen.scheme.name != "fp8":
            return False
        return part not in chosen.keep

    def mamba(self) -> int:
        """The residual, its norm, x and z, the convolved x, dt, y and its codes, the result."""
        config, size, codes = self.config, self.size, self._codes("mamba")
        d, e = config.hidden_size, config.mamba_inner_size
        wide = 2 * d + 5 * e + config.mamba_dt_rank + 2 * config.mamba_d_state
        return size * wide + (d + e if codes else size * d)

    def attention(self) -> int:
        """The residual, its norm, queries, keys and values, two partial results, their sum."""
        config, size = self.config, self.size
        d, kv = config.hidden_size, config.num_kv_heads * config.head_dim
        return size * (7 * d + 2 * kv) + (d if self._codes("attention") else size * d)

    def feed_forward(self) -> int:
        """The residual, its norm, gate and up, the gated product.

        A mixture has these for each pick, or the picks' tokens in the place of the product; its
        norm is in 16 bits for the router, and in fp8 for the experts.
        """
        config, size = self.config, self.size
        d, f, picks = config.hidden_size, config.intermediate_size, config.experts_per_token
        kinds = {kind.feed_forward for kind in config.layer_kinds}
        product, mixture = (1 if self._codes(part) else size for part in ("mlp", "experts"))
        each = 0
        if "mlp" in kinds:
            each = size * (d + 2 * f) + product * (d + f)
        if "moe" in kinds:
            own = d if self._codes("experts") else 0
            wide = size * (2 * d + picks * 2 * f) + own + mixture * picks * max(d, f)
            each = max(each, wide)
        return each


def _scratch(
    config: JambaConfig, precision: Precision, quantization: Quantization | None, *, cpu: bool
) -> int:
    """The widest weight in the activations' dtype, where weights are kept in another."""
    d, f, e = config.hidden_size, config.intermediate_size, config.mamba_inner_size
    widest = max(2 * f * d, 2 * e * d)
    same = precision.weights == precision.activations
    if quantization is None:
        return 0 if same else widest * precision.activations.itemsize
    if _in_8_bits(quantization) or (not cpu and quantization.scheme.name == "fp8"):
        return 0  # these products read the codes
    # In PyTorch NF4 codes are looked up by indices, of 32 and then 64 bits for two weights.
    indices = 6 if cpu and quantization.scheme.name == "nf4" else 0
    return widest * (precision.activations.itemsize + indices)
