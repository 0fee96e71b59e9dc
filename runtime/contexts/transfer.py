"""Between a cache and the bytes of a file: without a copy where the cache is host memory."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from runtime.contexts.layout import Layout, Region
from runtime.contexts.slabs import byte_views, pieces


@dataclass(frozen=True, slots=True)
class Frozen:
    """A segment whose tensors stay as they are while reading goes on.

    `done` is what a device gives to wait for until they hold their values.
    """

    layout: Layout
    done: Any = None


class Transfer(Protocol):
    """How bytes come from and to one kind of device."""

    def freeze(self, layout: Layout) -> Frozen:
        """Keeps what would be overwritten by reading on; called where reading happens."""
        ...

    def fetch(self, frozen: Frozen, regions: Sequence[Region]) -> Iterator[memoryview]:
        """The bytes of regions of a frozen segment; each view is valid until the next."""
        ...

    def begin(self) -> None:
        """Comes before any `land`, where reading happens."""
        ...

    def land(self, region: Region) -> Generator[memoryview]:
        """Memory for a region's bytes, in their order; several threads may ask at a time.

        A view is to be full when the next one is asked for.  Who stops before the end closes.
        """
        ...

    def finish(self) -> None:
        """Comes after the last `land`, where reading happens: all that was landed is there."""
        ...


class HostTransfer:
    """For caches in host memory; those of other devices are copied plainly."""

    def freeze(self, layout: Layout) -> Frozen:
        """Copies the states; rows that were read are never written again."""
        return Frozen(copied_states(layout, torch.device("cpu")))

    def fetch(self, frozen: Frozen, regions: Sequence[Region]) -> Iterator[memoryview]:
        """Views of the tensors themselves where they are host memory."""
        for region in regions:
            yield from byte_views(region.tensor.to("cpu", region.dtype))

    def begin(self) -> None:
        """Nothing is to be waited for."""

    def land(self, region: Region) -> Generator[memoryview]:
        """Views of the cache itself where it holds what the file holds."""
        if region.tensor.device.type == "cpu" and region.tensor.dtype == region.dtype:
            yield from byte_views(region.tensor)
            return
        for target in pieces(region):
            host = torch.empty(target.shape, dtype=region.dtype)
            yield from byte_views(host)
            copy_into(target, host)

    def finish(self) -> None:
        """Nothing is left to wait for."""


@torch.inference_mode()
def copy_into(target: Tensor, source: Tensor) -> None:
    """Copies, wherever the target was made."""
    target.copy_(source, non_blocking=True)


def copied_states(layout: Layout, device: torch.device | None = None) -> Layout:
    """The layout with copies of its states, on `device` or where they are."""
    states = tuple(
        replace(each, tensor=each.tensor.to(device or each.tensor.device, each.dtype, copy=True))
        for each in layout.states
    )
    return replace(layout, states=states)


def transfer_for(device: torch.device) -> Transfer:
    """The fastest that the device has."""
    if device.type == "cuda":
        from runtime.contexts.transfer_cuda import CudaTransfer

        return CudaTransfer(device)
    return HostTransfer()
