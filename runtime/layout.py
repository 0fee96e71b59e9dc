"""Where each tensor of a checkpoint goes: Hugging Face's names to regions of our parameters.

Queries, keys and values become one weight, gates and ups too, and the experts of a layer a stack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from runtime.config import JambaConfig
from runtime.model import MLP, AttentionMixer, JambaModel, Layer, Linear, MambaMixer, MoE


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of one checkpoint tensor: a region of a parameter, and how to get it there."""

    name: str  # in the checkpoint
    parameter: str  # in the model
    shape: tuple[int, ...]  # on disk
    index: Any = ...  # the region of the parameter
    transform: Callable[[Tensor], Tensor] = lambda tensor: tensor


def slots(config: JambaConfig) -> dict[str, Slot]:
    """Every tensor that a checkpoint of this shape holds, by its name on disk."""
    with torch.device("meta"):
        model = JambaModel(config)
    return {slot.name: slot for slot in _slots(model)}


def _slots(model: JambaModel) -> Iterator[Slot]:
    shape = tuple(model.embed_tokens.shape)
    yield Slot("model.embed_tokens.weight", "embed_tokens", shape)
    if model.lm_head is not None:
        yield Slot("lm_head.weight", "lm_head.weight", shape)
    norm = tuple(model.final_layernorm.weight.shape)
    yield Slot("model.final_layernorm.weight", "final_layernorm.weight", norm)
    for i, layer in enumerate(model.layers):
        assert isinstance(layer, Layer)
        for name in ("input_layernorm", "pre_ff_layernorm"):
            yield Slot(f"model.layers.{i}.{name}.weight", f"layers.{i}.{name}.weight", norm)
        mixer = _mamba_slots if isinstance(layer.mixer, MambaMixer) else _attention_slots
        yield from mixer(f"model.layers.{i}", f"layers.{i}.mixer", layer.mixer)
        dense = isinstance(layer.feed_forward, MLP)
        feed_forward = _mlp_slots if dense else _moe_slots
        source, target = f"model.layers.{i}.feed_forward", f"layers.{i}.feed_forward"
        yield from feed_forward(source, target, layer.feed_forward)


def _linear_slots(source: str, target: str, linear: Linear) -> Iterator[Slot]:
    yield Slot(f"{source}.weight", f"{target}.weight", tuple(linear.weight.shape))
    if linear.bias is not None:
        yield Slot(f"{source}.bias", f"{target}.bias", tuple(linear.bias.shape))


def _attention_slots(source: str, target: str, mixer: nn.Module) -> Iterator[Slot]:
    assert isinstance(mixer, AttentionMixer)
    source += ".self_attn"
    d, start = mixer.qkv_proj.weight.shape[1], 0
    for name, heads in zip(("q_proj", "k_proj", "v_proj"), mixer.heads, strict=True):
        end = start + heads * mixer.head_dim
        rows = slice(start, end)
        yield Slot(f"{source}.{name}.weight", f"{target}.qkv_proj.weight", (end - start, d), rows)
        start = end
    yield from _linear_slots(f"{source}.o_proj", f"{target}.o_proj", mixer.o_proj)


def _mamba_slots(source: str, target: str, mixer: nn.Module) -> Iterator[Slot]:
    assert isinstance(mixer, MambaMixer)
    source += ".mamba"
    w, e = mixer.conv_weight.shape
    n = mixer.A.shape[0]
    for name in ("in_proj", "x_proj", "dt_proj", "out_proj"):
        yield from _linear_slots(f"{source}.{name}", f"{target}.{name}", getattr(mixer, name))
    for name in ("dt_layernorm", "b_layernorm", "c_layernorm"):
        width = tuple(getattr(mixer, name).weight.shape)
        yield Slot(f"{source}.{name}.weight", f"{target}.{name}.weight", width)
    yield Slot(
        f"{source}.conv1d.weight",
        f"{target}.conv_weight",
        (e, 1, w),
        transform=lambda tensor: tensor[:, 0].T,
    )
    if mixer.conv_bias is not None:
        yield Slot(f"{source}.conv1d.bias", f"{target}.conv_bias", (e,))
    yield Slot(f"{source}.dt_proj.bias", f"{target}.dt_bias", (e,))
    yield Slot(
        f"{source}.A_log",
        f"{target}.A",
        (e, n),
        transform=lambda tensor: -tensor.float().exp().T,  # widened before it is exponentiated
    )
    yield Slot(f"{source}.D", f"{target}.D", (e,))


def _mlp_slots(source: str, target: str, mlp: nn.Module) -> Iterator[Slot]:
    assert isinstance(mlp, MLP)
    gate_up = mlp.gate_up_proj.weight
    f, d = gate_up.shape[0] // 2, gate_up.shape[1]
    for k, name in enumerate(("gate_proj", "up_proj")):
        rows = slice(k * f, (k + 1) * f)
        yield Slot(f"{source}.{name}.weight", f"{target}.gate_up_proj.weight", (f, d), rows)
    yield Slot(f"{source}.down_proj.weight", f"{target}.down_proj.weight", (d, f))


def _moe_slots(source: str, target: str, moe: nn.Module) -> Iterator[Slot]:
    assert isinstance(moe, MoE)
    count, d, f = moe.experts.down.shape
    yield Slot(f"{source}.router.weight", f"{target}.router", (count, d))
    for expert in range(count):
        part = f"{source}.experts.{expert}"
        for k, name in enumerate(("gate_proj", "up_proj")):
            region = (expert, slice(k * f, (k + 1) * f))
            yield Slot(f"{part}.{name}.weight", f"{target}.experts.gate_up", (f, d), region)
        yield Slot(f"{part}.down_proj.weight", f"{target}.experts.down", (d, f), expert)
