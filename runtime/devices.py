"""Which device runs the model, and in which precision."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from runtime.config import JambaConfig
from runtime.errors import UsageError
from runtime.ops.linear import wide_dtype


@dataclass(frozen=True, slots=True)
class Precision:
    """The dtype that tokens are computed in, and the one that matrices are kept in."""

    activations: torch.dtype
    weights: torch.dtype

    def products(self, device: torch.device) -> torch.dtype:
        """The dtype that products of many rows are computed in, which is the machine's say."""
        if device.type != "cpu" or self.weights == self.activations:
            return self.weights
        return wide_dtype()


EXACT = Precision(torch.float32, torch.float32)


def pick_device(name: str) -> torch.device:
    """`auto`, `cpu`, `cuda`, `cuda:N` or `mps`; raises UsageError for one that is not there.

    A GPU that is named becomes the process's current one.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        # torch's mps backend lacks nothing that is used here, but the CPU is the tested path.
        return torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(
            f"unknown device {name!r}", hint="use auto, cpu, cuda, cuda:N or mps"
        ) from None
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise UsageError(
                f"device {name!r} is not there: {count} CUDA devices are visible",
                hint="run `jamba doctor`, or use --device cpu",
            )
        if device.index is not None:
            torch.cuda.set_device(device)  # Triton launches on the current one, not the tensors'
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("device 'mps' is not there", hint="use --device cpu")
    elif device.type not in ("cpu", "mps"):
        raise UsageError(f"device {name!r} is not supported", hint="use auto, cpu, cuda or mps")
    return device


def pick_precision(config: JambaConfig, device: torch.device) -> Precision:
    """bf16 on a GPU; on a CPU fp32 activations over weights as narrow as they come."""
    if device.type != "cpu":
        return Precision(torch.bfloat16, torch.bfloat16)
    stored = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    quantization = config.quantization or {}
    kept = "float16" if quantization.get("quant_method") == "jamba" else config.dtype
    return Precision(torch.float32, stored.get(quantization.get("kept_dtype", kept), torch.float16))
