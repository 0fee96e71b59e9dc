"""From the tensors of a checkpoint to the parameters of a model.

The model is built without memory; every parameter is then allocated once and filled piece by
piece, so that loading holds the weights and at most two of the largest tensors more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from runtime.checkpoint import Checkpoint
from runtime.config import JambaConfig
from runtime.devices import Precision
from runtime.errors import CheckpointError
from runtime.model import MLP, AttentionMixer, JambaModel, Layer, Linear, MambaMixer, MoE

OnBytes = Callable[[int, int], None]
"""Called with the bytes read so far and in all."""

_SHOWN = 20  # names that an error lists before it only counts


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of one checkpoint tensor: a region of a parameter, and how to get it there."""

    name: str  # in the checkpoint
    parameter: str  # in the model
    shape: tuple[int, ...]  # on disk
    index: Any = ...  # the region of the parameter
    transform: Callable[[Tensor], Tensor] = lambda tensor: tensor


def _slots(model: JambaModel) -> Iterator[Slot]:
    shape = tuple(model.embed_tokens.shape)
    yield Slot("model.embed_tokens.weight", "embed_tokens", shape)
    if model.lm_head is not None:
        yield Slot("lm_head.weight", "lm_head", shape)
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


def checkpoint_shapes(model: JambaModel) -> dict[str, tuple[int, ...]]:
    """The tensors that a checkpoint of this model holds, by their names on disk."""
    return {slot.name: slot.shape for slot in _slots(model)}


def _check(slots: dict[str, Slot], checkpoint: Checkpoint, config: JambaConfig) -> None:
    """Compares names and shapes of all tensors; raises one CheckpointError that lists all."""
    stored = checkpoint.tensors
    allowed = {"lm_head.weight"} if config.tie_word_embeddings else set()
    problems = [f"missing: {name}" for name in slots if name not in stored]
    problems += [f"unexpected: {name}" for name in stored.keys() - slots.keys() - allowed]
    problems += [
        f"{name}: shape {list(stored[name].shape)}, config.json implies {list(slot.shape)}"
        for name, slot in slots.items()
        if name in stored and stored[name].shape != slot.shape
    ]
    if problems:
        listed = "; ".join(sorted(problems)[:_SHOWN])
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise CheckpointError(
            f"weights and config.json do not match ({len(problems)} tensors): {listed}{more}",
            hint="config and weights are from different models; download the model again",
        )


def allocate(model: JambaModel, device: torch.device, precision: Precision) -> None:
    """Gives every parameter its memory: matrices in the weights' dtype, A, D, dt_bias in fp32."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            kept = name in ("A", "D", "dt_bias")
            matrix = parameter.dim() > 1 and name != "conv_weight"
            narrow = precision.weights if matrix else precision.activations
            dtype = torch.float32 if kept else narrow
            memory = torch.empty(parameter.shape, dtype=dtype, device=device)
            setattr(module, name, nn.Parameter(memory, requires_grad=False))


def load_model(
    directory: Path,
    config: JambaConfig,
    *,
    device: torch.device,
    precision: Precision,
    on_bytes: OnBytes | None = None,
) -> JambaModel:
    """Builds the model and fills it from the checkpoint in `directory`.

    Raises CheckpointError with every missing, unexpected and misshapen tensor.
    """
    with torch.device("meta"):
        model = JambaModel(config)
    slots = {slot.name: slot for slot in _slots(model)}
    with Checkpoint(directory, config.quantization) as checkpoint:
        _check(slots, checkpoint, config)
        allocate(model, device, precision)
        parameters = dict(model.named_parameters())
        done, total = 0, checkpoint.nbytes
        for name, slot in slots.items():
            region = parameters[slot.parameter].data[slot.index]
            region.copy_(slot.transform(checkpoint.read(name)))
            done += checkpoint.tensors[name].nbytes
            if on_bytes is not None:
                on_bytes(done, total)
    return model.eval()
