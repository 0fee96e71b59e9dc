"""The forward pass of one token, in as few kernels as can be, by a position the device holds.

The same sums as `model.py` does for a chunk of one, cut differently: what a layer adds to the
stream is left to the next norm, which adds it in the same kernel.  Nothing here looks at a value,
and every state is changed in place, so that the whole step can be captured once and replayed.

Kernels a layer: Mamba 6 (norm, in_proj, convolution, x_proj, recurrence, out_proj), attention 5
(norm, qkv_proj, the parts, their merge, o_proj), a dense feed-forward 3 (norm, gate_up with the
gate, down), a mixture 3 (norm with router and choice, gate_up with the gate, down); and a step 5
(embedding, norm, head, two for the pick): 289 for the 32 layers of a Jamba Mini.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional

from quant.linear import QuantLinear
from quant.ops.gemv import expert_gemv, expert_gemv_silu_gate, gemv, gemv_silu_gate
from runtime.cache import AttentionState, MambaState
from runtime.model import MLP, AttentionMixer, JambaModel, Layer, Linear, MambaMixer, MoE, RMSNorm
from runtime.ops.attention_step import attention_step
from runtime.ops.causal_conv import causal_conv
from runtime.ops.linear import linear
from runtime.ops.mamba_step import mamba_step
from runtime.ops.route import route_sum

States = Sequence[AttentionState | MambaState]


class Pending(NamedTuple):
    """What is still to be added to the stream: a row [1, d], or [1, s, d] and shares [1, s]."""

    rows: Tensor
    shares: Tensor | None = None


def scores_after(model: JambaModel, states: States, token: Tensor, position: Tensor) -> Tensor:
    """Reads one token into the states and gives the head's scores [1, v], in its own dtype.

    token [1] and position [1] are int64 on the model's device; position is how many tokens the
    states hold.  The host's counters (`cache.position`, `AttentionState.length`) are not moved.
    """
    x = functional.embedding(token, model.embed_tokens).to(model.activation_dtype)
    pending: Pending | None = None
    for layer, state in zip(model.layers, states, strict=True):
        assert isinstance(layer, Layer)
        y = _added(x, pending, layer.input_layernorm)
        if isinstance(layer.mixer, AttentionMixer):
            assert isinstance(state, AttentionState)
            mixed = _attention(layer.mixer, y, state, position)
        else:
            assert isinstance(layer.mixer, MambaMixer)
            assert isinstance(state, MambaState)
            mixed = _mamba(layer.mixer, y, state)
        pending = _feed_forward(layer, x, mixed)
    x = _added(x, pending, model.final_layernorm)
    return linear(x, model.embed_tokens if model.lm_head is None else model.lm_head.weight)


def _added(x: Tensor, pending: Pending | None, norm: RMSNorm) -> Tensor:
    if pending is None:
        y: Tensor = norm(x)
        return y
    return norm.of_sum(x, pending.rows, pending.shares)


def _mamba(mixer: MambaMixer, x: Tensor, state: MambaState) -> Tensor:
    u, z = _product(x, mixer.in_proj).chunk(2, -1)
    u = causal_conv(u, state.conv, mixer.conv_weight, mixer.conv_bias)
    layers = (mixer.dt_layernorm, mixer.b_layernorm, mixer.c_layernorm)
    dt, b, c = (layer.weight for layer in layers)
    y = mamba_step(
        u, z, gemv(u, mixer.x_proj.weight), (dt, b, c), layers[0].eps,
        mixer.dt_proj.weight, mixer.A, mixer.D, mixer.dt_bias, state.ssm,
    )  # fmt: skip
    return _product(y, mixer.out_proj)


def _attention(mixer: AttentionMixer, x: Tensor, state: AttentionState, position: Tensor) -> Tensor:
    heads = _product(x, mixer.qkv_proj).view(-1, mixer.head_dim)
    return _product(attention_step(heads, state.k, state.v, position), mixer.o_proj)


def _feed_forward(layer: Layer, x: Tensor, mixed: Tensor) -> Pending:
    """x += mixed, and what is to be added next."""
    norm, ff = layer.pre_ff_layernorm, layer.feed_forward
    if isinstance(ff, MLP):
        y = norm.of_sum(x, mixed)
        return Pending(_product(gemv_silu_gate(y, ff.gate_up_proj.weight), ff.down_proj))
    assert isinstance(ff, MoE)
    y, weights, picked = route_sum(x, mixed, norm.weight, norm.eps, ff.router, ff.top_k)
    chosen = picked.view(-1)
    gated = expert_gemv_silu_gate(y.expand(ff.top_k, -1), ff.experts.gate_up, chosen)
    return Pending(expert_gemv(gated, ff.experts.down, chosen)[None], weights)


def _product(x: Tensor, layer: Linear | QuantLinear) -> Tensor:
    """By our own kernel for plain weights too: it is set up while the one before it ends."""
    y = gemv(x, layer.weight)
    return y if layer.bias is None else y.add_(layer.bias)
