"""The whole forward pass of a Jamba model.

Prefill of any number of tokens from any state, and a decode step (a chunk of one), are the same
code.  One sequence at a time: there is no batch dimension.

Dimensions: l new tokens, t tokens read so far (with the new ones), d hidden, e channels of a
Mamba layer (expand * d), n state, r dt rank, w convolution width, h query heads, k key heads,
p head width, x experts, f feed-forward width, v vocabulary.

Which weights may be quantized is said by `quantizable`: everything else stays as it is.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from quant.linear import takes_codes
from quant.tensor import Rows
from runtime.cache import AttentionState, HybridCache, MambaState
from runtime.config import JambaConfig
from runtime.ops.attention import attention
from runtime.ops.causal_conv import causal_conv
from runtime.ops.linear import Weight, linear, products_in
from runtime.ops.moe import moe, swiglu
from runtime.ops.norm import add_rms_norm, add_rms_norm_rows, rms_norm, rms_norm_rows
from runtime.ops.selective_scan import selective_scan

Logits = Literal["none", "last", "all"]
Part = Literal["experts", "mlp", "attention", "mamba", "head"]
"""What a weight that may be quantized is part of."""


def _empty(*shape: int, dtype: torch.dtype | None = None) -> nn.Parameter:
    return nn.Parameter(torch.empty(*shape, dtype=dtype), requires_grad=False)


def _last(x: Tensor, rows: int) -> Tensor:
    return x[x.shape[0] - rows :]


class Linear(nn.Module):
    """x [l, k] -> [l, n]; the weight [n, k] may be narrower than the activations.

    `exact` keeps the product in fp32 where the activations are.
    """

    def __init__(self, k: int, n: int, *, bias: bool = False, exact: bool = False) -> None:
        super().__init__()
        self.exact = exact
        self.weight = _empty(n, k)
        self.bias = _empty(n) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """The product, in x's dtype."""
        return linear(x, self.weight, self.bias, exact=self.exact)


class RMSNorm(nn.Module):
    """Root-mean-square normalization with a weight a channel."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = _empty(width)
        self.eps = eps

    def forward(self, x: Tensor, reader: Weight | None = None) -> Rows:
        """x [..., width] -> the same shape, in the form that a product with `reader` takes."""
        norm = rms_norm_rows if takes_codes(reader, x.shape[0]) else rms_norm
        return norm(x, self.weight, self.eps)

    def of_sum(self, x: Tensor, add: Tensor, shares: Tensor | None = None) -> Tensor:
        """x += add, in place, and the norm of that; arguments as in `add_rms_norm`."""
        return add_rms_norm(x, add, self.weight, self.eps, shares)

    def of_sum_for(self, reader: Weight | None, x: Tensor, add: Tensor) -> Rows:
        """The same, in the form that a product with `reader` takes."""
        if takes_codes(reader, x.shape[0]):
            return add_rms_norm_rows(x, add, self.weight, self.eps)
        return self.of_sum(x, add)


class MambaMixer(nn.Module):
    """Mamba-1: a gated convolution and a selective scan; dt, B and C are normalized first."""

    def __init__(self, config: JambaConfig) -> None:
        super().__init__()
        d, e, n = config.hidden_size, config.mamba_inner_size, config.mamba_d_state
        r, eps, bias = config.mamba_dt_rank, config.rms_norm_eps, config.mamba_proj_bias
        self.splits = [r, n, n]
        self.in_proj = Linear(d, 2 * e, bias=bias)  # x first, then the gate z
        self.conv_weight = _empty(config.mamba_d_conv, e)
        self.conv_bias = _empty(e) if config.mamba_conv_bias else None
        self.x_proj = Linear(e, r + 2 * n, exact=True)  # small, and the recurrence hangs on it
        self.dt_proj = Linear(r, e, exact=True)  # its bias is dt_bias, added inside the scan
        self.dt_layernorm = RMSNorm(r, eps)
        self.b_layernorm = RMSNorm(n, eps)
        self.c_layernorm = RMSNorm(n, eps)
        self.dt_bias = _empty(e, dtype=torch.float32)
        self.A = _empty(n, e, dtype=torch.float32)  # -exp(A_log), transposed
        self.D = _empty(e, dtype=torch.float32)
        self.out_proj = Linear(e, d, bias=bias)

    @property
    def reads(self) -> Weight:
        """What x is multiplied by, first and only."""
        return self.in_proj.weight

    def forward(self, x: Rows, state: MambaState, rows: int) -> Tensor | None:
        """x [l, d] -> its last rows [rows, d], None if none; the state moves on by l tokens."""
        u, z = self.in_proj(x).chunk(2, -1)  # [l, e] each
        u = causal_conv(u, state.conv, self.conv_weight, self.conv_bias)
        dt, B, C = self.x_proj(u).split(self.splits, -1)
        dt = self.dt_proj(self.dt_layernorm(dt))  # [l, e]
        B, C = self.b_layernorm(B), self.c_layernorm(C)  # [l, n] each
        y = selective_scan(u, dt, self.A, B, C, self.D, z, self.dt_bias, state.ssm)
        if not rows:
            return None
        out: Tensor = self.out_proj(_last(y, rows))
        return out


class AttentionMixer(nn.Module):
    """Grouped-query attention over all tokens so far; no positions of any kind."""

    def __init__(self, config: JambaConfig) -> None:
        super().__init__()
        d, p = config.hidden_size, config.head_dim
        self.head_dim = p
        h, k = config.num_heads, config.num_kv_heads
        self.heads = [h, k, k]
        self.qkv_proj = Linear(d, (h + 2 * k) * p)
        self.o_proj = Linear(h * p, d)

    @property
    def reads(self) -> Weight:
        """What x is multiplied by, first and only."""
        return self.qkv_proj.weight

    def forward(self, x: Rows, state: AttentionState, rows: int) -> Tensor | None:
        """x [l, d] -> its last rows [rows, d], None if none; the state gets l keys and values."""
        heads = self.qkv_proj(x).view(x.shape[0], -1, self.head_dim)
        q, k, v = heads.split(self.heads, 1)  # [l, h, p], [l, k, p], [l, k, p]
        k, v = state.append(k, v)
        if not rows:
            return None
        q, weight = _last(q, rows), self.qkv_proj.weight
        out: Tensor = self.o_proj(attention(q, k, v, products_in(weight, q)))
        return out


class MLP(nn.Module):
    """SwiGLU."""

    def __init__(self, config: JambaConfig) -> None:
        super().__init__()
        self.gate_up_proj = Linear(config.hidden_size, 2 * config.intermediate_size)
        self.down_proj = Linear(config.intermediate_size, config.hidden_size)

    @property
    def reads(self) -> Weight:
        """What x is multiplied by, first and only."""
        return self.gate_up_proj.weight

    def forward(self, x: Rows) -> Tensor:
        """x [l, d] -> [l, d]."""
        return swiglu(x, self.gate_up_proj.weight, self.down_proj.weight)


class Experts(nn.Module):
    """The experts of one layer, stacked: gate_up [x, 2f, d] and down [x, d, f]."""

    def __init__(self, config: JambaConfig) -> None:
        super().__init__()
        x, d, f = config.num_experts, config.hidden_size, config.intermediate_size
        self.gate_up = _empty(x, 2 * f, d)
        self.down = _empty(x, d, f)


class MoE(nn.Module):
    """A router and the experts it picks from."""

    reads = None  # x goes to the router too, which takes it as it is

    def __init__(self, config: JambaConfig) -> None:
        super().__init__()
        self.top_k = config.experts_per_token
        self.router = _empty(config.num_experts, config.hidden_size)
        self.experts = Experts(config)

    def forward(self, x: Tensor) -> Tensor:
        """x [l, d] -> [l, d]."""
        return moe(x, self.router, self.experts.gate_up, self.experts.down, self.top_k)


class Layer(nn.Module):
    """x += mixer(norm(x)); x += feed_forward(norm(x))."""

    def __init__(self, config: JambaConfig, index: int) -> None:
        super().__init__()
        kind = config.layer_kinds[index]
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mixer = (AttentionMixer if kind.mixer == "attention" else MambaMixer)(config)
        self.pre_ff_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.feed_forward = (MoE if kind.feed_forward == "moe" else MLP)(config)

    def forward(self, x: Tensor, state: AttentionState | MambaState, rows: int) -> Tensor:
        """x [l, d], changed in place -> its last rows [rows, d]; the state moves on by l tokens.

        What the state does not hang on is computed for these rows only.
        """
        mixed = self.mixer(self.input_layernorm(x, self.mixer.reads), state, rows)
        x = _last(x, rows)
        if mixed is None:
            return x
        y = self.pre_ff_layernorm.of_sum_for(self.feed_forward.reads, x, mixed)
        return x.add_(self.feed_forward(y))


class JambaModel(nn.Module):
    """Embedding, layers, final norm, output head."""

    def __init__(self, config: JambaConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = _empty(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config, i) for i in range(config.num_layers))
        self.final_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        tied = config.tie_word_embeddings
        self.lm_head = None if tied else Linear(config.hidden_size, config.vocab_size)

    @property
    def activation_dtype(self) -> torch.dtype:
        """The dtype that tokens are computed in; weights may be narrower."""
        return self.final_layernorm.weight.dtype

    def forward(self, ids: Tensor, cache: HybridCache, *, logits: Logits = "last") -> Tensor:
        """Reads l tokens, moving the cache on by l.

        ids [l] -> logits fp32: [v] of the last token, [l, v] of all, or [0] of none.
        """
        l = ids.shape[0]
        wanted = {"none": 0, "last": 1, "all": l}[logits]
        rows = [l] * (len(self.layers) - 1) + [wanted]  # a layer's states hang on all before it
        x = functional.embedding(ids, self.embed_tokens).to(self.activation_dtype)
        for layer, state, read in zip(self.layers, cache.states, rows, strict=True):
            x = layer(x, state, read)
        cache.advance(l)
        if logits == "none":
            return x.new_empty(0, dtype=torch.float32)
        x = self.final_layernorm(x)
        head = self.embed_tokens if self.lm_head is None else self.lm_head.weight
        out = linear(x, head).float()  # [l, v]
        return out if logits == "all" else out[0]


_QUANTIZABLE: tuple[tuple[Part, type[nn.Module], tuple[str, ...]], ...] = (
    ("experts", MoE, ("experts",)),
    ("mlp", MLP, ("gate_up_proj", "down_proj")),
    ("attention", AttentionMixer, ("qkv_proj", "o_proj")),
    ("mamba", MambaMixer, ("in_proj", "out_proj")),
)


def quantizable(model: JambaModel) -> dict[str, Part]:
    """The layers whose weights may be quantized, by path, and what they are part of.

    Never the router, A, D, the biases, the convolution and the norms, on which small errors tell;
    nor x_proj and dt_proj, whose outputs steer the state, nor the embedding, which is only read.
    """
    found: dict[str, Part] = {} if model.lm_head is None else {"lm_head": "head"}
    for path, module in model.named_modules():
        for part, kind, names in _QUANTIZABLE:
            if isinstance(module, kind):
                found |= {f"{path}.{name}": part for name in names}
    return found
