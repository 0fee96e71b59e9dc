"""Checkpoints that `jamba quantize` wrote: their tensors are the model's parameters, copied in.

Several threads read blocks of the files, on a CPU straight into the parameters' memory, for a
GPU into pinned buffers from which the copy to the device goes on while the next block is read.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from runtime.checkpoint import weight_files
from runtime.config import JambaConfig
from runtime.devices import Precision
from runtime.model import JambaModel
from runtime.quantization import stored_quantization
from runtime.tensor_file import Entry, read_header, read_into
from runtime.weights import OnBytes, allocate, build, raise_mismatch

BLOCK_BYTES = 32 << 20
THREADS = 8


@dataclass(frozen=True, slots=True)
class Block:
    """Bytes of a file and the memory that they go to."""

    file: Path
    start: int
    memory: Tensor  # uint8


def load_parameters(
    directory: Path,
    config: JambaConfig,
    *,
    device: torch.device,
    precision: Precision,
    on_bytes: OnBytes | None = None,
) -> JambaModel:
    """Builds the model as the checkpoint has it and copies the files in; raises CheckpointError."""
    assert config.quantization is not None
    source = str(directory / "config.json")
    model = build(config, stored_quantization(config.quantization, source))
    found: dict[str, tuple[Path, Entry]] = {}
    for file in weight_files(directory):
        entries, _ = read_header(file)
        found |= {name: (file, entry) for name, entry in entries.items()}
    allocate(model, device, precision)
    parameters = {name: parameter.data for name, parameter in model.named_parameters()}
    _check(parameters, {name: entry for name, (_, entry) in found.items()})
    copies = _Copies(device, sum(entry.nbytes for _, entry in found.values()), on_bytes)
    # What is held in another dtype than it is stored in is read aside first: norms on a CPU.
    aside = {
        name: torch.empty(parameters[name].shape, dtype=entry.dtype, device=device)
        for name, (_, entry) in found.items()
        if entry.dtype != parameters[name].dtype
    }
    blocks = (
        block
        for name, (file, entry) in found.items()
        for block in _blocks(file, entry, aside.get(name, parameters[name]))
    )
    copies.run(blocks)
    for name, memory in aside.items():
        parameters[name].copy_(memory)
    return model.eval()


def _check(parameters: dict[str, Tensor], found: dict[str, Entry]) -> None:
    problems = [f"missing: {name}" for name in parameters.keys() - found.keys()]
    problems += [f"unexpected: {name}" for name in found.keys() - parameters.keys()]
    for name, entry in found.items():
        if name not in parameters:
            continue
        own = parameters[name]
        if entry.shape != tuple(own.shape):
            problems.append(f"{name}: shape {list(entry.shape)}, wanted {list(own.shape)}")
        elif entry.dtype != own.dtype and not _plain(entry.dtype, own.dtype):
            problems.append(f"{name}: {entry.dtype}, wanted {own.dtype}")
    raise_mismatch(problems)


def _plain(*dtypes: torch.dtype) -> bool:
    return all(dtype.is_floating_point and dtype.itemsize > 1 for dtype in dtypes)


def _blocks(file: Path, entry: Entry, memory: Tensor) -> Iterator[Block]:
    flat = memory.view(-1).view(torch.uint8)
    for start in range(0, entry.nbytes, BLOCK_BYTES):
        yield Block(file, entry.start + start, flat[start : start + BLOCK_BYTES])


class _Copies:
    """Threads that read blocks and a count of what they have read."""

    def __init__(self, device: torch.device, total: int, on_bytes: OnBytes | None) -> None:
        self.device, self.total, self.on_bytes = device, total, on_bytes
        self.done = 0
        self.lock = threading.Lock()
        self.local = threading.local()

    def run(self, blocks: Iterator[Block]) -> None:
        """Copies all blocks; the first failure ends it."""
        copy: Callable[[Block], None]
        copy = self._direct
        if self.device.type == "cuda":
            copy = self._through_pinned
            torch.cuda.synchronize(self.device)  # what allocation may have written
        with ThreadPoolExecutor(THREADS) as pool:
            try:
                for size in pool.map(lambda block: self._sized(copy, block), blocks):
                    self.done += size
                    if self.on_bytes is not None:
                        self.on_bytes(self.done, self.total)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    @staticmethod
    def _sized(copy: Callable[[Block], None], block: Block) -> int:
        copy(block)
        return block.memory.numel()

    @staticmethod
    def _direct(block: Block) -> None:
        if block.memory.device.type == "cpu":
            read_into(block.file, block.start, block.memory)
            return
        buffer = torch.empty(block.memory.shape, dtype=torch.uint8)
        read_into(block.file, block.start, buffer)
        block.memory.copy_(buffer)

    def _through_pinned(self, block: Block) -> None:
        state: Any = self.local
        if not hasattr(state, "buffers"):
            state.stream = torch.cuda.Stream(self.device)
            pinned = (torch.empty(BLOCK_BYTES, dtype=torch.uint8, pin_memory=True) for _ in "ab")
            state.buffers = [(buffer, torch.cuda.Event()) for buffer in pinned]
        state.buffers.reverse()
        buffer, copied = state.buffers[0]
        copied.synchronize()  # the copy out of this buffer, two blocks ago
        part = buffer[: block.memory.numel()]
        read_into(block.file, block.start, part)
        with torch.cuda.stream(state.stream):
            block.memory.copy_(part, non_blocking=True)
            copied.record(state.stream)
