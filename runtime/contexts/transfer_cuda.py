"""Between a GPU's cache and the bytes of a file: by pinned memory, on a stream of its own.

Pinned memory is taken in slabs of the largest region's size and used again, as getting it is
slow.  A slab is free again when the copy that it takes part in is done.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from runtime.contexts.layout import Layout, Region
from runtime.contexts.transfer import Frozen, Landing, byte_views, copied_states, copy_into

_Slab = tuple[Tensor, torch.cuda.Event]


class CudaTransfer:
    """For caches on a CUDA device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)
        self._slabs: list[_Slab] = []
        self._lock = threading.Lock()

    def freeze(self, layout: Layout) -> Frozen:
        """Copies the states on the device, in the order of the run."""
        frozen = copied_states(layout)
        for region in frozen.states:
            region.tensor.record_stream(self.stream)
        done = torch.cuda.Event()
        done.record(torch.cuda.current_stream(self.device))
        return Frozen(frozen, done)

    def fetch(self, frozen: Frozen, regions: Sequence[Region]) -> Iterator[memoryview]:
        """Brings one region after another to the host, beside what the device computes."""
        for region in regions:
            slab, copied = self._take(region)
            host = _part(slab, region)
            with torch.cuda.stream(self.stream):
                self.stream.wait_event(frozen.done)
                copy_into(host, region.tensor)
                copied.record(self.stream)
            copied.synchronize()
            yield from byte_views(host)
            self._give((slab, copied))

    def begin(self) -> None:
        """Lets copies come after what the run has done to the cache."""
        self.stream.wait_stream(torch.cuda.current_stream(self.device))

    def land(self, region: Region) -> Landing:
        """Pinned memory, from which the region is copied while the next one is read."""
        if region.tensor.device.type == "cpu":
            return Landing(byte_views(region.tensor))
        slab, copied = self._take(region)
        host = _part(slab, region)

        def commit() -> None:
            with torch.cuda.stream(self.stream):
                copy_into(region.tensor, host)
                copied.record(self.stream)
            self._give((slab, copied))

        return Landing(byte_views(host), commit)

    def finish(self) -> None:
        """Lets the run go on only after the copies."""
        torch.cuda.current_stream(self.device).wait_stream(self.stream)

    def _take(self, region: Region) -> _Slab:
        """A slab that is free and large enough."""
        with self._lock:
            for i, (slab, copied) in enumerate(self._slabs):
                if slab.numel() >= region.nbytes and copied.query():
                    return self._slabs.pop(i)
        with torch.cuda.device(self.device):  # a thread begins on the first GPU, whichever is used
            slab = torch.empty(region.nbytes, dtype=torch.uint8, pin_memory=True)
        return slab, torch.cuda.Event()

    def _give(self, slab: _Slab) -> None:
        with self._lock:
            self._slabs.append(slab)


def _part(slab: Tensor, region: Region) -> Tensor:
    return slab[: region.nbytes].view(region.dtype).view(region.shape)
