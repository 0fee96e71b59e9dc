"""What the quantization_config of a checkpoint means, and an error for what is not supported.

`fp8` is the form of vLLM's and transformers' fp8 checkpoints, `compressed-tensors` that of
llm-compressor's; both store e4m3 weights with a scale beside each.  `jamba models` reads this
without torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from runtime.errors import ConfigError

METHOD = "jamba"
"""The quant_method of the checkpoints that this project writes."""

LAYOUT = "parameters"
"""The `layout` of a checkpoint whose tensors are the model's parameters as they lie in memory."""

Format = Literal["plain", "nano", "fp8", "parameters"]
"""plain tensors; the embedded model's NF4 and int8; e4m3 with scales; our quantized checkpoints."""


def stored_format(quantization: Mapping[str, Any] | None, source: str) -> Format:
    """The format of a checkpoint; raises ConfigError naming `source` and what is supported."""
    if quantization is None:
        return "plain"
    method = quantization.get("quant_method")
    if method == METHOD and quantization.get("layout") == LAYOUT:
        if (kept := quantization.get("kept_dtype")) not in ("float32", "bfloat16", "float16"):
            raise _unsupported(source, f"kept_dtype {kept!r}")
        return "parameters"
    if method == METHOD and quantization.get("scheme") == "nf4":
        return "nano"
    if method == "fp8":
        return "fp8"
    if method == "compressed-tensors":
        problems = list(_compressed_problems(quantization))
        if not problems:
            return "fp8"
        raise _unsupported(source, f"compressed-tensors with {'; '.join(problems)}")
    raise _unsupported(source, f"method {method!r}, scheme {quantization.get('scheme')!r}")


def block_size(quantization: Mapping[str, Any] | None) -> tuple[int, int] | None:
    """Rows and columns that share a scale in an fp8 checkpoint, None if whole rows or all do."""
    values = quantization or {}
    sizes = [values.get("weight_block_size")]
    for group in (values.get("config_groups") or {}).values():
        sizes.append(group["weights"].get("block_structure"))
    for size in sizes:
        if isinstance(size, list) and len(size) == 2 and all(isinstance(n, int) for n in size):
            return max(1, size[0]), max(1, size[1])
    return None


def _unsupported(source: str, what: str) -> ConfigError:
    return ConfigError(
        f"{source}: quantization_config of {what} is not supported",
        hint="supported are fp8 and compressed-tensors with e4m3 weights, and what "
        "`jamba quantize` writes; or use the model's bf16 checkpoint with --scheme",
    )


def _compressed_problems(quantization: Mapping[str, Any]) -> Iterator[str]:
    """What of a compressed-tensors configuration is beyond e4m3 weights with scales."""
    form = quantization.get("format")
    if form not in ("float-quantized", "naive-quantized"):
        yield f"format {form!r}"
    groups = quantization.get("config_groups")
    if not isinstance(groups, Mapping) or not groups:
        yield "no config_groups"
        return
    for name, group in groups.items():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        if not isinstance(weights, Mapping):
            yield f"no weights in {name}"
            continue
        wanted = {"num_bits": (8,), "type": ("float",), "symmetric": (True, None)}
        wanted["strategy"] = ("tensor", "channel", "block")
        for key, allowed in wanted.items():
            if weights.get(key) not in allowed:
                yield f"{key} {weights.get(key)!r} in {name}"
    sparsity = quantization.get("sparsity_config")
    if sparsity and sparsity.get("format") != "dense":
        yield f"sparsity {sparsity.get('format')!r}"
