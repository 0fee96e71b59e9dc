"""Tensors on disk under Hugging Face's names: safetensors files, plain or quantized.

Our own quantized checkpoints, whose tensors are the model's parameters, are parameter_files.py's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from quant.ops import int8, nf4
from quant.tensor import QuantWeight
from runtime.errors import CheckpointError
from runtime.formats import Format, block_size, stored_format
from runtime.tensor_file import Entry, read_header, read_tensor

_LEGACY_NAMES = (
    (".mamba.B_layernorm.", ".mamba.b_layernorm."),
    (".mamba.C_layernorm.", ".mamba.c_layernorm."),
    (".pre_moe_layernorm.", ".pre_ff_layernorm."),
    (".moe.", ".feed_forward."),
)
"""What the family's remote code of early 2024 called things, and what they are called now."""

_SCALE_SUFFIXES: dict[Format, tuple[str, ...]] = {
    "nano": ("_absmax", "_scale"),
    "fp8": ("_scale_inv", "_scale"),
}
"""What is added to a weight's name to name its scale, by format."""

# Scales of activations, which are made anew for every token here, and of the KV cache.
_UNUSED_SUFFIXES = (".input_scale", ".output_scale", ".k_scale", ".v_scale", ".q_scale")
_REDOWNLOAD = "download the model again: `jamba models pull NAME`"


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """What a tensor is called on disk, and its shape once dequantized."""

    stored_name: str
    shape: tuple[int, ...]
    nbytes: int
    scale_name: str | None = None


def current_name(name: str) -> str:
    """A tensor's name in today's layout, whichever layout the checkpoint has."""
    for old, new in _LEGACY_NAMES:
        name = name.replace(old, new)
    return name


class Checkpoint:
    """The tensors of a model directory by their current names."""

    def __init__(self, directory: Path, quantization: Mapping[str, Any] | None) -> None:
        """Reads headers only; raises CheckpointError, or ConfigError for an unknown scheme."""
        self.format: Format = stored_format(quantization, str(directory / "config.json"))
        self._block = block_size(quantization) if self.format == "fp8" else None
        self._entries: dict[str, tuple[Path, Entry]] = {}  # by the name on disk
        self.tensors: dict[str, StoredTensor] = {}
        for file in weight_files(directory):
            self._open(file)
        self._index()
        self._unwrap_single_experts()

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors as stored."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def _open(self, file: Path) -> None:
        for name, entry in read_header(file)[0].items():
            if name in self._entries:
                raise CheckpointError(f"{file.name}: {name!r} is also in another shard")
            self._entries[name] = (file, entry)

    def _index(self) -> None:
        """Notes what each tensor is; a scale may lie in another shard than its codes."""
        suffixes = _SCALE_SUFFIXES.get(self.format, ())
        for name, (file, entry) in self._entries.items():
            if suffixes and name.endswith((*suffixes, *_UNUSED_SUFFIXES)):
                continue
            shape = entry.shape
            scale = next((name + s for s in suffixes if name + s in self._entries), None)
            if scale is None and entry.dtype == torch.float8_e4m3fn:
                raise CheckpointError(f"{file.name}: {name!r} is in fp8 and has no scale")
            if scale and scale.endswith("_absmax"):
                shape = (*shape[:-1], 2 * shape[-1])
            self.tensors[current_name(name)] = StoredTensor(name, shape, entry.nbytes, scale)

    def _unwrap_single_experts(self) -> None:
        """The legacy layout stores a dense MLP as the only expert of a layer with no router."""
        lone = ".feed_forward.experts.0."
        for name in [name for name in self.tensors if lone in name]:
            layer = name.split(lone)[0]
            if f"{layer}.feed_forward.router.weight" not in self.tensors:
                self.tensors[name.replace(lone, ".feed_forward.")] = self.tensors.pop(name)

    def read(self, name: str) -> Tensor:
        """The tensor, dequantized where it is stored in a scheme: nano's to fp16, fp8 to fp32."""
        stored = self.tensors[name]
        tensor = self._get(stored.stored_name)
        if stored.scale_name is None:
            return tensor
        scale = self._get(stored.scale_name)
        if self.format == "fp8":
            return tensor.float().mul_(self._spread(name, scale.float()))
        dequantize = nf4.dequantize if tensor.dtype == torch.uint8 else int8.dequantize
        return dequantize(tensor, scale, torch.float16)

    def scheme_of(self, name: str) -> str | None:
        """The scheme that a tensor is stored in, None if in none that we compute with."""
        stored = self.tensors[name]
        if stored.scale_name is None:
            return None
        if self.format == "fp8":
            return "fp8" if self._block is None else None
        return "nf4" if stored.scale_name.endswith("_absmax") else "int8"

    def read_codes(self, name: str) -> QuantWeight:
        """Codes and scales as they are stored, one fp8 scale spread over the rows."""
        stored, scheme = self.tensors[name], self.scheme_of(name)
        assert stored.scale_name is not None
        codes, scale = self._get(stored.stored_name), self._get(stored.scale_name)
        if scheme == "nf4":
            return QuantWeight("nf4", codes, scale)
        if scheme == "fp8":
            rows = self._spread(name, scale.float())[:, 0].expand(codes.shape[0])
            return QuantWeight("fp8", codes, rows)
        return QuantWeight("int8", codes, scale)

    def _spread(self, name: str, scale: Tensor) -> Tensor:
        """A scale of the tensor, of each row or of each block, as one that multiplies [n, k]."""
        n, k = self.tensors[name].shape
        if self._block is None:
            if scale.numel() not in (1, n):
                raise CheckpointError(
                    f"{name}: {scale.numel()} scales for {n} rows, and no block size in config.json"
                )
            return scale.reshape(-1, 1)
        height, width = self._block
        if scale.shape != (ceil(n / height), ceil(k / width)):
            raise CheckpointError(
                f"{name}: scales of shape {list(scale.shape)} for blocks of {height} x {width}"
            )
        return scale.repeat_interleave(height, 0)[:n].repeat_interleave(width, 1)[:, :k]

    def _get(self, stored_name: str) -> Tensor:
        return read_tensor(*self._entries[stored_name])


def weight_files(directory: Path) -> Iterator[Path]:
    """The weight files of a model directory; raises CheckpointError."""
    index = directory / "model.safetensors.index.json"
    single = directory / "model.safetensors"
    if not index.exists():
        if not single.exists():
            raise CheckpointError(
                f"{directory}: neither model.safetensors nor {index.name}", hint=_REDOWNLOAD
            )
        yield single
        return
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{index}: not a weight index", hint=_REDOWNLOAD) from error
    for name in sorted(map(str, names)):
        if Path(name).name != name:
            raise CheckpointError(f"{index}: names a file outside the model: {name!r}")
        yield directory / name
