"""The shapes of the released models by short names, for measuring without their weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from quant.experts import QuantExperts
from quant.linear import QuantLinear
from quant.tensor import QuantWeight
from runtime.config import JambaConfig
from runtime.devices import Precision
from runtime.errors import UsageError
from runtime.model import JambaModel
from runtime.quantization import Quantization
from runtime.weights import allocate, build

_FAMILY: dict[str, Any] = {"model_type": "jamba", "vocab_size": 65_536, "mamba_dt_rank": "auto"}

SHAPES: dict[str, dict[str, Any]] = {
    "mini": _FAMILY
    | {
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
    "large": _FAMILY
    | {
        "hidden_size": 8192,
        "intermediate_size": 24_576,
        "num_hidden_layers": 72,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
    },
    "3b": _FAMILY
    | {
        "hidden_size": 2560,
        "intermediate_size": 8192,
        "num_hidden_layers": 28,
        "num_attention_heads": 20,
        "num_key_value_heads": 1,
        "attn_layer_period": 14,
        "attn_layer_offset": 7,
        "num_experts": 1,
        "tie_word_embeddings": True,
    },
    "tiny": _FAMILY
    | {
        "hidden_size": 512,
        "intermediate_size": 2048,
        "num_hidden_layers": 16,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "num_experts": 8,
    },
}
"""As in the released config.json files; "tiny" is the family's development model."""


def shape(name: str) -> JambaConfig:
    """The config of a named shape; raises UsageError for an unknown one."""
    if name not in SHAPES:
        raise UsageError(f"unknown shape {name!r}", hint=f"the shapes are {', '.join(SHAPES)}")
    return JambaConfig.from_dict(SHAPES[name], source=f"shape {name}")


def random_model(
    config: JambaConfig,
    device: torch.device,
    precision: Precision,
    quantization: Quantization | None = None,
    *,
    seed: int = 0,
) -> JambaModel:
    """A model of random weights, made where it will run; activations stay of ordinary size."""
    model = build(config, quantization)
    allocate(model, device, precision)
    generator = torch.Generator(device).manual_seed(seed)
    for module in model.modules():
        if isinstance(module, QuantLinear):
            _fill_codes(module.weight, generator)
        elif isinstance(module, QuantExperts):
            _fill_codes(module.gate_up, generator)
            _fill_codes(module.down, generator)
        else:
            for name, parameter in module.named_parameters(recurse=False):
                _fill(name, parameter, generator)
    return model.eval()


_CODE_SPREAD = {"int8": 73.3, "w8a8": 73.3, "fp8": 1.0, "nf4": 0.564}
"""Standard deviation of the codes that `_fill_codes` draws."""


def _fill_codes(weight: QuantWeight, generator: torch.Generator) -> None:
    """Random codes and one scale for all, so that nothing wider than the codes is ever held."""
    codes = weight.codes.data
    if codes.dtype == torch.int8:
        codes.random_(-127, 128, generator=generator)
    elif weight.scheme == "nf4":
        codes.random_(0, 256, generator=generator)
    else:
        for part in codes.view(-1, *codes.shape[-2:]):
            noise = torch.empty(part.shape, dtype=torch.bfloat16, device=part.device)
            part.copy_(noise.normal_(generator=generator))
    weight.scale.data.fill_(weight.shape[-1] ** -0.5 / _CODE_SPREAD[weight.scheme])


def _fill(name: str, parameter: nn.Parameter, generator: torch.Generator) -> None:
    data = parameter.data
    if name == "A":
        rates = torch.arange(1, data.shape[0] + 1, dtype=data.dtype, device=data.device)
        data.copy_(-rates[:, None].expand_as(data))
    elif name == "D" or (data.dim() == 1 and name == "weight"):
        data.fill_(1)
    elif name == "dt_bias":
        data.uniform_(-7, -2, generator=generator)  # softplus: 1e-3 to 0.1, as models are begun
    elif data.dim() == 1:
        data.zero_()
    else:
        for row in data if data.dim() > 2 else (data,):  # noise of one expert at a time
            row.normal_(0, row.shape[-1] ** -0.5, generator=generator)
