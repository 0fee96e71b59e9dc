"""A segment's bytes: which tensor of a cache lies where in its safetensors file.

Everything about a segment follows from the model's shapes and the token range, so a reader does
not trust a file's header: it makes the one that must be there and compares.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from runtime.cache import AttentionState, HybridCache

DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.int32: "I32"}
FORMAT = "jamba-context-segment-1"


@dataclass(frozen=True, slots=True)
class Region:
    """One stored tensor: a part of the cache on the device, and the dtype that it is stored in."""

    name: str
    tensor: Tensor
    dtype: torch.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """The stored shape."""
        return tuple(self.tensor.shape)

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class Layout:
    """The file of one segment: header, then `rows` (ids, keys, values), then `states`."""

    start: int
    end: int
    rows: tuple[Region, ...]
    states: tuple[Region, ...]

    @property
    def header(self) -> bytes:
        """The safetensors header with its length in front, padded to 8 bytes."""
        entries: dict[str, object] = {
            "__metadata__": {"format": FORMAT, "start": str(self.start), "end": str(self.end)}
        }
        offset = 0
        for region in (*self.rows, *self.states):
            end = offset + region.nbytes
            entries[region.name] = {
                "dtype": DTYPES[region.dtype],
                "shape": list(region.shape),
                "data_offsets": [offset, end],
            }
            offset = end
        text = json.dumps(entries, separators=(",", ":")).encode("ascii")
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text

    @property
    def state_offset(self) -> int:
        """Where in the file the states begin."""
        return len(self.header) + sum(region.nbytes for region in self.rows)

    @property
    def nbytes(self) -> int:
        """The file's length."""
        return self.state_offset + sum(region.nbytes for region in self.states)


def layout(cache: HybridCache, ids: Tensor, start: int, end: int, logits: Tensor | None) -> Layout:
    """The file of tokens [start, end): what is stored of `cache`, or restored into it.

    ids [end - start] int32; logits [v] fp32 or None where the file has none.
    """
    rows = [Region("ids", ids, torch.int32)]
    states = []
    for i, state in enumerate(cache.states):
        if isinstance(state, AttentionState):
            for name, tensor in (("k", state.k), ("v", state.v)):
                part = tensor[:, start:end]  # [k, end - start, p]
                rows.append(Region(f"{i}.{name}", part, part.dtype))
        else:
            states.append(Region(f"{i}.conv", state.conv, torch.float32))
            states.append(Region(f"{i}.ssm", state.ssm, torch.float32))
    if logits is not None:
        states.append(Region("logits", logits, torch.float32))
    return Layout(start, end, tuple(rows), tuple(states))


def costs(cache: HybridCache) -> tuple[int, int]:
    """Bytes that a context takes for each token, and for each checkpoint."""
    empty = layout(cache, torch.empty(0, dtype=torch.int32), 0, 1, None)
    token = sum(region.nbytes for region in empty.rows) + torch.int32.itemsize
    return token, sum(region.nbytes for region in empty.states)
