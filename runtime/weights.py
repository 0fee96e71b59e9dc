"""From a checkpoint to the parameters of a model, quantized on the way where that is asked for.

The model is built without memory; every parameter is then allocated once and filled piece by
piece, so that loading holds the weights and at most two of the largest tensors more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from quant.experts import QuantExperts
from quant.linear import QuantLinear
from quant.schemes import Scheme
from quant.tensor import QuantWeight
from runtime.checkpoint import Checkpoint
from runtime.config import JambaConfig
from runtime.devices import Precision
from runtime.errors import CheckpointError
from runtime.layout import Slot, slots
from runtime.model import JambaModel
from runtime.quantization import Quantization

OnBytes = Callable[[int, int], None]
"""Called with the bytes read so far and in all."""

_SHOWN = 20  # names that an error lists before it only counts


def check(wanted: Mapping[str, Slot], checkpoint: Checkpoint, config: JambaConfig) -> None:
    """Compares names and shapes of all tensors; raises one CheckpointError that lists all."""
    stored = checkpoint.tensors
    allowed = {"lm_head.weight"} if config.tie_word_embeddings else set()
    problems = [f"missing: {name}" for name in wanted if name not in stored]
    problems += [f"unexpected: {name}" for name in stored.keys() - wanted.keys() - allowed]
    problems += [
        f"{name}: shape {list(stored[name].shape)}, config.json implies {list(slot.shape)}"
        for name, slot in wanted.items()
        if name in stored and stored[name].shape != slot.shape
    ]
    raise_mismatch(problems)


def raise_mismatch(problems: Collection[str]) -> None:
    """Raises a CheckpointError with what does not match, if anything does not."""
    if problems:
        listed = "; ".join(sorted(problems)[:_SHOWN])
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise CheckpointError(
            f"weights and config.json do not match ({len(problems)} tensors): {listed}{more}",
            hint="config and weights are from different models; download the model again",
        )


def build(
    config: JambaConfig,
    quantization: Quantization | None = None,
    only: Collection[str] | None = None,
) -> JambaModel:
    """The model's structure without memory; `only` narrows the layers that are quantized."""
    with torch.device("meta"):
        model = JambaModel(config)
    if quantization is not None:
        quantization.apply(model, only)
    return model


def parameter_dtypes(model: JambaModel, precision: Precision) -> dict[str, torch.dtype]:
    """Matrices in the weights' dtype, A, D and dt_bias in fp32, codes and scales as they are."""
    dtypes: dict[str, torch.dtype] = {}
    for path, module in model.named_modules():
        quantized = isinstance(module, QuantLinear | QuantExperts)
        for name, parameter in module.named_parameters(recurse=False):
            matrix = parameter.dim() > 1 and name != "conv_weight"
            dtype = precision.weights if matrix else precision.activations
            if name in ("A", "D", "dt_bias"):
                dtype = torch.float32
            elif quantized and name != "bias":
                dtype = parameter.dtype
            dtypes[f"{path}.{name}" if path else name] = dtype
    return dtypes


def allocate(model: JambaModel, device: torch.device, precision: Precision) -> None:
    """Gives every parameter its memory."""
    for name, dtype in parameter_dtypes(model, precision).items():
        shape = model.get_parameter(name).shape
        set_parameter(model, name, torch.empty(shape, dtype=dtype, device=device))


def set_parameter(model: nn.Module, name: str, memory: Tensor) -> None:
    """Puts memory in the place of a parameter."""
    path, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(path), leaf, nn.Parameter(memory, requires_grad=False))


def weights_bytes(
    config: JambaConfig,
    precision: Precision,
    quantization: Quantization | None = None,
    only: Collection[str] | None = None,
) -> int:
    """Bytes of a model's parameters as the engine holds them."""
    model = build(config, quantization, only)
    dtypes = parameter_dtypes(model, precision)
    return sum(model.get_parameter(n).numel() * dtype.itemsize for n, dtype in dtypes.items())


def stored_in(checkpoint: Checkpoint, scheme: str, wanted: Mapping[str, Slot]) -> set[str]:
    """Paths of the layers all of whose weights are stored in a scheme already."""
    layers: dict[str, bool] = {}
    for name, slot in wanted.items():
        if name.endswith(".weight"):
            path = slot.parameter.rpartition(".")[0]
            layers[path] = layers.get(path, True) and checkpoint.scheme_of(name) == scheme
    return {path for path, whole in layers.items() if whole}


def fill(
    model: nn.Module,
    wanted: Collection[Slot],
    checkpoint: Checkpoint,
    scheme: Scheme | None,
    on_slot: Callable[[str], None],
    device: torch.device,
) -> None:
    """Copies tensors to their regions, quantizing on a device.

    `on_slot` is called with the name of each one that is done.
    """
    for slot in wanted:
        path, _, leaf = slot.parameter.rpartition(".")
        target = getattr(model.get_submodule(path), leaf)
        if isinstance(target, QuantWeight):
            assert scheme is not None
            _fill_codes(target[slot.index], checkpoint, slot.name, scheme, device)
        else:
            target.data[slot.index].copy_(slot.transform(checkpoint.read(slot.name)))
        on_slot(slot.name)


def _fill_codes(
    region: QuantWeight, checkpoint: Checkpoint, name: str, scheme: Scheme, device: torch.device
) -> None:
    if checkpoint.scheme_of(name) == scheme.name:
        source = checkpoint.read_codes(name)
    else:
        source = scheme.quantize(checkpoint.read(name).to(device))
    region.codes.data.copy_(source.codes)
    region.scale.data.copy_(source.scale)


def load_model(
    directory: Path,
    config: JambaConfig,
    *,
    device: torch.device,
    precision: Precision,
    quantization: Quantization | None = None,
    only: Collection[str] | None = None,
    on_bytes: OnBytes | None = None,
) -> JambaModel:
    """Builds the model and fills it from the checkpoint in `directory`.

    `only` names the layers that are quantized.  Raises CheckpointError with every missing,
    unexpected and misshapen tensor.
    """
    wanted = slots(config)
    checkpoint = Checkpoint(directory, config.quantization)
    check(wanted, checkpoint, config)
    model = build(config, quantization, only)
    allocate(model, device, precision)
    scheme = None if quantization is None else quantization.scheme
    fill(model, wanted.values(), checkpoint, scheme, counter(checkpoint, on_bytes), device)
    return model.eval()


def counter(checkpoint: Checkpoint, on_bytes: OnBytes | None) -> Callable[[str], None]:
    """Turns the names of tensors that are done into the bytes that are."""
    done, total = 0, checkpoint.nbytes

    def on_slot(name: str) -> None:
        nonlocal done
        done += checkpoint.tensors[name].nbytes
        if on_bytes is not None:
            on_bytes(done, total)

    return on_slot
