"""Safetensors files, read and written in pieces.

The library maps files into memory, where all that was read counts as used until they are closed,
and writes whole ones only.  Format: a little-endian uint64 of the header's length, the header in
JSON, then the tensors without gaps.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from runtime.errors import CheckpointError

_NAMES = {
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.float64: "F64",
    torch.int64: "I64",
    torch.int32: "I32",
}
_DTYPES = {name: dtype for dtype, name in _NAMES.items()}
_ALIGNMENT = 64
_LARGEST_HEADER = 100_000_000  # the library's own limit
_AGAIN = "make or download it again: `jamba models pull NAME`"


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of a file; `start` is its first byte in the file."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor."""
        return prod(self.shape) * self.dtype.itemsize


def make_header(
    entries: Mapping[str, Entry], metadata: Mapping[str, str]
) -> tuple[bytes, dict[str, Entry]]:
    """The header of a file of these tensors, and where each then lies: widest dtypes first."""
    order = sorted(entries, key=lambda name: -entries[name].dtype.itemsize)
    table: dict[str, object] = {"__metadata__": {"format": "pt", **metadata}}
    ends: dict[str, int] = {}
    end = 0
    for name in order:
        entry = entries[name]
        start, end = end, end + entry.nbytes
        offsets = [start, end]
        table[name] = {"dtype": _NAMES[entry.dtype], "shape": entry.shape, "data_offsets": offsets}
        ends[name] = start
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % _ALIGNMENT)
    begin = 8 + len(text)
    placed = {n: Entry(entries[n].dtype, entries[n].shape, begin + ends[n]) for n in order}
    return struct.pack("<Q", len(text)) + text, placed


def read_header(file: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    """The tensors of a file and its metadata; raises CheckpointError if anything is amiss."""
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > min(size, _LARGEST_HEADER):
                raise ValueError(f"a header of {length:,} bytes")
            table = json.loads(stream.read(length))
        metadata = table.pop("__metadata__", {})
        entries = {name: _entry(value, 8 + length) for name, value in table.items()}
    except FileNotFoundError:
        raise CheckpointError(f"{file}: not found", hint=_AGAIN) from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, struct.error) as error:
        raise CheckpointError(f"{file}: not a safetensors file: {error}", hint=_AGAIN) from error
    end = max((entry.start + entry.nbytes for entry in entries.values()), default=0)
    if end > size:
        raise CheckpointError(f"{file}: ends after {size:,} of {end:,} bytes", hint=_AGAIN)
    return entries, metadata


def _entry(value: Mapping[str, object], begin: int) -> Entry:
    shape, offsets = value["shape"], value["data_offsets"]
    if not isinstance(shape, Sequence) or not isinstance(offsets, Sequence):
        raise TypeError("shape and data_offsets are no lists")
    entry = Entry(_DTYPES[str(value["dtype"])], tuple(map(int, shape)), begin + int(offsets[0]))
    start, end = map(int, offsets)
    if min((start, *entry.shape)) < 0 or end - start != entry.nbytes:
        raise ValueError(f"offsets {offsets} for shape {shape}")
    return entry


def read_tensor(file: Path, entry: Entry) -> Tensor:
    """One tensor in new CPU memory; raises CheckpointError."""
    tensor = torch.empty(entry.shape, dtype=entry.dtype)
    if entry.nbytes:
        read_into(file, entry.start, tensor.view(-1).view(torch.uint8))
    return tensor


def read_into(file: Path, start: int, memory: Tensor) -> None:
    """Fills uint8 CPU memory from a file, outside of Python's lock; raises CheckpointError."""
    view: memoryview = memory.numpy().data
    try:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            while view:
                count = os.preadv(descriptor, [view], start)
                if count == 0:
                    raise CheckpointError(f"{file}: ends early", hint=_AGAIN)
                start, view = start + count, view[count:]
        finally:
            os.close(descriptor)
    except OSError as error:
        raise CheckpointError(f"{file}: {error}", hint=_AGAIN) from error
