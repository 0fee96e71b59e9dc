"""Restores a cache from a stored checkpoint, or says what is damaged; several files at a time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import torch
from torch import Tensor

from runtime.cache import HybridCache
from runtime.contexts.files import BLOCK_BYTES, READERS
from runtime.contexts.hashing import DamagedError, id_bytes
from runtime.contexts.layout import Region, layout
from runtime.contexts.records import Match, Segment
from runtime.contexts.transfer import Transfer


class SegmentError(DamagedError):
    """A segment can't be used; `key` is the checksum of the part that is wrong."""

    def __init__(self, message: str, key: str, *, states: bool) -> None:
        super().__init__(message)
        self.key = key
        self.states = states


class _StatesError(DamagedError):
    """The states are damaged, what is before them is not."""


def restore(
    match: Match, ids: Sequence[int], cache: HybridCache, transfer: Transfer, logits: Tensor
) -> None:
    """Fills an empty cache up to the checkpoint, and `logits` [v] if they are stored there.

    Every byte that counts is checked before the cache says that it holds anything.  Raises
    SegmentError, with the cache empty.
    """

    def read(segment: Segment, *, states: bool) -> None:
        path = match.context.path / segment.file
        own = ids[segment.start : segment.end]
        try:
            _read(path, segment, own, cache, transfer, logits, states=states)
        except EOFError:
            problem = "is shorter than it should be"
        except FileNotFoundError:
            problem = "is missing"
        except OSError as error:
            problem = f"can't be read: {error.strerror}"
        except _StatesError:
            problem = "the checksum of its states does not match"
            raise SegmentError(
                f"{segment.file}: {problem}", segment.state_checksum, states=True
            ) from None
        except DamagedError as error:
            problem = str(error)
        else:
            return
        raise SegmentError(f"{segment.file}: {problem}", segment.checksum, states=False)

    last = match.segments[-1]
    largest_first = sorted(match.segments, key=lambda each: -each.nbytes)
    transfer.begin()
    try:
        with ThreadPoolExecutor(READERS, thread_name_prefix="jamba-restore") as pool:
            jobs = {s.start: pool.submit(read, s, states=s is last) for s in largest_first}
            try:
                for each in (last, *match.segments[:-1]):
                    jobs[each.start].result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)  # leaving waits for what runs
                raise
    except BaseException:
        transfer.finish()
        cache.reset()
        raise
    transfer.finish()
    cache.filled(match.tokens)


@torch.inference_mode()
def _read(
    path: Path,
    segment: Segment,
    ids: Sequence[int],
    cache: HybridCache,
    transfer: Transfer,
    logits: Tensor,
    *,
    states: bool,
) -> None:
    """Reads one segment into the cache; raises DamagedError, EOFError or OSError."""
    stored_ids = torch.empty(len(ids), dtype=torch.int32)
    stored_logits = logits if segment.logits else None
    wanted = layout(cache, stored_ids, segment.start, segment.end, stored_logits)
    if (segment.state_offset, segment.nbytes) != (wanted.state_offset, wanted.nbytes):
        raise DamagedError("is not of this model's shape")
    fd = os.open(path, os.O_RDONLY)
    try:
        header = memoryview(bytearray(len(wanted.header)))
        digest = hashlib.sha256()
        offset = _fill(fd, [header], 0, digest)
        offset = _land(fd, wanted.rows, transfer, offset, digest)
        if digest.hexdigest() != segment.checksum or header != wanted.header:
            raise DamagedError("its checksum does not match")
        if stored_ids.numpy().tobytes() != id_bytes(ids):
            raise DamagedError("it is of other tokens")
        if states:
            digest = hashlib.sha256()
            _land(fd, wanted.states, transfer, offset, digest)
            if digest.hexdigest() != segment.state_checksum:
                raise _StatesError
    finally:
        os.close(fd)


def _land(
    fd: int, regions: Sequence[Region], transfer: Transfer, offset: int, digest: hashlib._Hash
) -> int:
    for region in regions:
        with closing(transfer.land(region)) as views:
            offset = _fill(fd, views, offset, digest)
    return offset


def _fill(fd: int, views: Iterable[memoryview], offset: int, digest: hashlib._Hash) -> int:
    """Reads and hashes block by block, while the block is in the processor's cache."""
    for view in views:
        done = 0
        while done < len(view):
            block = view[done : done + BLOCK_BYTES]
            count = os.preadv(fd, [block], offset)
            if not count:
                raise EOFError
            digest.update(block[:count])
            done += count
            offset += count
    return offset
