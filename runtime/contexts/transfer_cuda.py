"""Between a GPU's cache and the bytes of a file: by pinned memory, on a stream of its own."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from functools import cache

import torch
from torch import Tensor

from runtime.contexts.files import READERS
from runtime.contexts.layout import Layout, Region
from runtime.contexts.slabs import PIECE_BYTES, Event, Slabs, as_piece, byte_views, pieces
from runtime.contexts.transfer import Frozen, copied_states, copy_into


class CudaTransfer:
    """For caches on a CUDA device."""

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device)
        self.device: torch.device = self.stream.device

    def freeze(self, layout: Layout) -> Frozen:
        """Copies the states on the device, in the order of the run."""
        frozen = copied_states(layout)
        for region in frozen.states:
            region.tensor.record_stream(self.stream)
        done = torch.cuda.Event()
        done.record(torch.cuda.current_stream(self.device))
        return Frozen(frozen, done)

    def fetch(self, frozen: Frozen, regions: Sequence[Region]) -> Iterator[memoryview]:
        """Brings one piece after another to the host, beside what the device computes."""
        slab, copied = _pinned(PIECE_BYTES, self.device), _event()
        for region in regions:
            for source in pieces(region):
                host = as_piece(slab, source, region.dtype)
                with torch.cuda.stream(self.stream):
                    self.stream.wait_event(frozen.done)
                    copy_into(host, source)
                    copied.record(self.stream)
                copied.synchronize()
                yield from byte_views(host)

    def begin(self) -> None:
        """Lets copies come after what the run has done to the cache; pins the slabs, once."""
        _slabs(self.device)
        self.stream.wait_stream(torch.cuda.current_stream(self.device))

    def land(self, region: Region) -> Generator[memoryview]:
        """Pinned memory, from which a piece is copied while the next one is read."""
        if region.tensor.device.type == "cpu":
            yield from byte_views(region.tensor)
        else:
            yield from _slabs(self.device).land(region, self._copy)

    def finish(self) -> None:
        """Lets the run go on only after the copies."""
        torch.cuda.current_stream(self.device).wait_stream(self.stream)

    def _copy(self, target: Tensor, host: Tensor, copied: Event) -> None:
        assert isinstance(copied, torch.cuda.Event)
        with torch.cuda.stream(self.stream):
            copy_into(target, host)
            copied.record(self.stream)


@cache
def _slabs(device: torch.device) -> Slabs:
    """The slabs of a device, for as long as the process lives: for each thread that reads one.

    And a few more for the copies, which are short beside the hashing of a piece.
    """
    return Slabs(_pinned((READERS + READERS // 4) * PIECE_BYTES, device), _event)


def _pinned(nbytes: int, device: torch.device) -> Tensor:
    with torch.cuda.device(device):  # a thread begins on the first GPU, whichever is used
        return torch.empty(nbytes, dtype=torch.uint8, pin_memory=True)


def _event() -> torch.cuda.Event:
    """One whose waiters sleep: the processor is wanted for hashing, or for the run."""
    return torch.cuda.Event(blocking=True)
