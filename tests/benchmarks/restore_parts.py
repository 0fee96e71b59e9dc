"""What a restore is made of, each part alone: reading files, hashing, copying to the device."""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from runtime.bench import synchronize
from runtime.cache import HybridCache
from runtime.contexts import Context
from runtime.contexts.files import BLOCK_BYTES, READERS
from runtime.contexts.layout import layout
from runtime.contexts.records import Segment
from runtime.contexts.slabs import PIECE_BYTES
from runtime.contexts.transfer import transfer_for

COLD_SHARE = 0.01
"""Files of which the page cache holds no more than this are cold."""


def raw_read_s(files: Sequence[Path]) -> float:
    """Seconds to read files by READERS threads, into one buffer a thread that is there already."""

    def read(own: Sequence[Path]) -> None:
        buffer = memoryview(bytearray(BLOCK_BYTES))
        for path in own:
            fd = os.open(path, os.O_RDONLY)
            while os.readv(fd, [buffer]):
                pass
            os.close(fd)

    with ThreadPoolExecutor(READERS) as pool:
        started = time.perf_counter()
        list(pool.map(read, [files[i::READERS] for i in range(READERS)]))
        return time.perf_counter() - started


def made_cold(files: Sequence[Path]) -> bool:
    """Asks for files to leave the page cache; whether they did, as the kernel says."""
    for path in files:
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)  # pages that are not on the disk stay
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)
    return cached_share(files) <= COLD_SHARE


def cached_share(files: Sequence[Path]) -> float:
    """How much of files is in the page cache."""
    libc = ctypes.CDLL(None, use_errno=True)
    held = total = 0
    for path in files:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            pages = np.zeros(-(-len(mapped) // mmap.PAGESIZE), dtype=np.uint8)
            data = np.frombuffer(mapped, dtype=np.uint8)
            address, size = ctypes.c_void_p(data.ctypes.data), ctypes.c_size_t(len(mapped))
            if libc.mincore(address, size, ctypes.c_void_p(pages.ctypes.data)):
                raise OSError(ctypes.get_errno(), "mincore", str(path))
            del data  # the map can't be closed while it is seen
        held += int((pages & 1).sum())
        total += len(pages)
    return held / total


def checked_nbytes(context: Context) -> list[int]:
    """Bytes of each file that a restore of all of them reads and hashes, largest first."""
    *others, last = context.segments
    return sorted([*(each.state_offset for each in others), last.nbytes], reverse=True)


def hash_only_s(sizes: Sequence[int]) -> float:
    """Seconds to hash so many bytes a file by READERS threads, from the processors' caches."""

    def run(size: int) -> None:
        piece, digest = memoryview(bytearray(PIECE_BYTES)), hashlib.sha256()
        for start in range(0, size, PIECE_BYTES):
            digest.update(piece[: size - start])

    with ThreadPoolExecutor(READERS) as pool:
        started = time.perf_counter()
        list(pool.map(run, sizes))
        return time.perf_counter() - started


def copy_only_s(cache: HybridCache, context: Context, device: torch.device) -> float:
    """Seconds to copy what slabs hold to the places of all files' bytes, by READERS threads.

    What the cache holds is overwritten.
    """
    transfer = transfer_for(device)

    def copy(segment: Segment) -> None:
        ids = torch.empty(segment.end - segment.start, dtype=torch.int32)
        part = layout(cache, ids, segment.start, segment.end, None)
        states = part.states if segment is context.segments[-1] else ()
        for region in (*part.rows, *states):
            for _ in transfer.land(region):
                pass

    transfer.begin()  # pins what is not pinned yet
    synchronize(device)
    with ThreadPoolExecutor(READERS) as pool:
        started = time.perf_counter()
        list(pool.map(copy, context.segments))
        transfer.finish()
        synchronize(device)
        return time.perf_counter() - started
