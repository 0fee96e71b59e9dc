"""Tensors on disk: safetensors files, sharded or single, plain or quantized by us."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from quant.ops import int8, nf4
from runtime.errors import CheckpointError, ConfigError

_LEGACY_NAMES = (
    (".mamba.B_layernorm.", ".mamba.b_layernorm."),
    (".mamba.C_layernorm.", ".mamba.c_layernorm."),
    (".pre_moe_layernorm.", ".pre_ff_layernorm."),
    (".moe.", ".feed_forward."),
)
"""What the family's remote code of early 2024 called things, and what they are called now."""

_SCALE_SUFFIXES = ("_absmax", "_scale")
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
    """The tensors of a model directory by their current names; a context manager."""

    def __init__(self, directory: Path, quantization: Mapping[str, Any] | None) -> None:
        """Reads headers only; raises CheckpointError, or ConfigError for an unknown scheme."""
        self.quantized = _is_ours(quantization, directory)
        self._handles: dict[Path, Any] = {}
        self._files: dict[str, Path] = {}  # by the name on disk
        self.tensors: dict[str, StoredTensor] = {}
        try:
            for file in _files(directory):
                self._open(file)
            self._index()
            self._unwrap_single_experts()
        except BaseException:
            self.close()
            raise

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors as stored."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the files."""
        for handle in self._handles.values():
            handle.__exit__(None, None, None)
        self._handles.clear()

    def _open(self, file: Path) -> None:
        try:
            self._handles[file] = safe_open(file, framework="pt").__enter__()
        except FileNotFoundError:
            raise CheckpointError(f"{file}: not found", hint=_REDOWNLOAD) from None
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{file}: {error}", hint=_REDOWNLOAD) from error

    def _index(self) -> None:
        """Notes where each tensor lies; a scale may lie in another shard than its codes."""
        for file, handle in self._handles.items():
            for name in handle.keys():  # noqa: SIM118  not a dict
                if name in self._files:
                    raise CheckpointError(f"{file.name}: {name!r} is also in another shard")
                self._files[name] = file
        for name, file in self._files.items():
            if self.quantized and name.endswith(_SCALE_SUFFIXES):
                continue
            scale = next((name + s for s in _SCALE_SUFFIXES if name + s in self._files), None)
            view = self._handles[file].get_slice(name)
            shape = tuple(view.get_shape())
            if self.quantized and scale and scale.endswith("_absmax"):
                shape = (*shape[:-1], 2 * shape[-1])
            self.tensors[current_name(name)] = StoredTensor(
                name, shape, _stored_nbytes(view), scale if self.quantized else None
            )

    def _unwrap_single_experts(self) -> None:
        """The legacy layout stores a dense MLP as the only expert of a layer with no router."""
        lone = ".feed_forward.experts.0."
        for name in [name for name in self.tensors if lone in name]:
            layer = name.split(lone)[0]
            if f"{layer}.feed_forward.router.weight" not in self.tensors:
                self.tensors[name.replace(lone, ".feed_forward.")] = self.tensors.pop(name)

    def read(self, name: str) -> Tensor:
        """The tensor, dequantized to fp16 where it is stored in one of our schemes."""
        stored = self.tensors[name]
        tensor = self._get(stored.stored_name)
        if stored.scale_name is None:
            return tensor
        scale = self._get(stored.scale_name)
        dequantize = nf4.dequantize if tensor.dtype == torch.uint8 else int8.dequantize
        return dequantize(tensor, scale, torch.float16)

    def _get(self, stored_name: str) -> Tensor:
        file = self._files[stored_name]
        try:
            tensor: Tensor = self._handles[file].get_tensor(stored_name)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{file}: {error}", hint=_REDOWNLOAD) from error
        return tensor


def _stored_nbytes(view: Any) -> int:
    bits = {"F64": 64, "I64": 64, "F32": 32, "I32": 32, "F16": 16, "BF16": 16}
    count = bits.get(view.get_dtype(), 8)
    for size in view.get_shape():
        count *= size
    return count // 8


def _is_ours(quantization: Mapping[str, Any] | None, directory: Path) -> bool:
    if quantization is None:
        return False
    method, scheme = quantization.get("quant_method"), quantization.get("scheme")
    if method == "jamba" and scheme == "nf4":
        return True
    raise ConfigError(
        f"{directory / 'config.json'}: quantization_config of method {method!r}, scheme "
        f"{scheme!r} is not supported",
        hint="use the model's bf16 checkpoint",
    )


def _files(directory: Path) -> Iterator[Path]:
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
