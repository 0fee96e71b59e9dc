"""Host memory that bytes pass through on their way to a device: a few slabs, used in turn.

Memory that a device copies from by itself is pinned, and pinning is slow, for one thread at a
time.  So there is little of it: a region goes piece by piece, one piece is copied while the next
one is read, and who finds no free slab waits for the oldest copy.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from queue import SimpleQueue
from typing import Protocol

import torch
from torch import Tensor

from runtime.contexts.layout import Region

PIECE_BYTES = 8 << 20
"""Bytes of a slab. Copies of 2 MiB by 16 threads brought 10.7 GB/s to an H100: what a copy takes to
begin, one thread at a time, was longer than the copy."""


class Event(Protocol):
    """What says when the copy that it was recorded after is done; at once if there was none."""

    def synchronize(self) -> None:
        """Waits."""
        ...


class Slabs:
    """A fixed number of slabs, each with the event of the last copy from it.

    A thread takes one at a time and gives it back whatever happens, so none waits for ever.
    """

    def __init__(self, memory: Tensor, new_event: Callable[[], Event]) -> None:
        """`memory` [bytes] uint8 is cut into slabs."""
        self._free: SimpleQueue[tuple[Tensor, Event]] = SimpleQueue()  # the oldest copy first
        for slab in memory.split(PIECE_BYTES):
            self._free.put((slab, new_event()))

    def land(
        self, region: Region, copy: Callable[[Tensor, Tensor, Event], None]
    ) -> Generator[memoryview]:
        """Memory for piece after piece; `copy` begins a copy to a target from a filled slab."""
        for target in pieces(region):
            slab, copied = self._free.get()
            try:
                copied.synchronize()
                host = as_piece(slab, target, region.dtype)
                yield from byte_views(host)
                copy(target, host, copied)
            finally:
                self._free.put((slab, copied))


def pieces(region: Region) -> Iterator[Tensor]:
    """Parts of the region's tensor in the order of its bytes, each small enough for a slab."""
    return _pieces(region.tensor, region.dtype.itemsize)


def _pieces(tensor: Tensor, itemsize: int) -> Iterator[Tensor]:
    if tensor.numel() * itemsize <= PIECE_BYTES:
        yield tensor
        return
    row_bytes = tensor[0].numel() * itemsize
    if row_bytes <= PIECE_BYTES:
        yield from tensor.split(PIECE_BYTES // row_bytes)
        return
    for row in tensor.unbind(0):
        yield from _pieces(row, itemsize)


def as_piece(slab: Tensor, piece: Tensor, dtype: torch.dtype) -> Tensor:
    """The beginning of a slab, in the shape of a piece and the dtype that it is stored in."""
    return slab[: piece.numel() * dtype.itemsize].view(dtype).view(piece.shape)


def byte_views(tensor: Tensor) -> list[memoryview]:
    """The memory of a host tensor in row-major order, in as few pieces as it lies in."""
    if tensor.is_contiguous():
        return [tensor.detach().view(-1).view(torch.uint8).numpy().data]
    return [view for part in tensor.unbind(0) for view in byte_views(part)]
