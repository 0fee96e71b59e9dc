"""What a context is going to take on the disk, counted before anything of it is written."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from runtime.cache import HybridCache
from runtime.contexts.hashing import CHECKSUM_DIGITS
from runtime.contexts.layout import layout
from runtime.contexts.manifest import FILE, Attachment, Manifest, segment_file
from runtime.contexts.records import Identity, Match, Segment

_CHECKSUM = "0" * CHECKSUM_DIGITS


def planned_segments(
    cache: HybridCache, start: int, stops: Mapping[int, str], vocab_size: int
) -> list[Segment]:
    """The segments from `start` to each stop, with the lengths of their files; checksums are not
    known yet."""
    segments = []
    last = max(stops)
    logits = torch.empty(vocab_size, device="meta")
    for end in sorted(stops):
        ids = torch.empty(end - start, dtype=torch.int32, device="meta")
        part = layout(cache, ids, start, end, logits if end == last else None)
        segments.append(
            Segment(
                start, end, segment_file(start, end), part.nbytes, part.state_offset,
                _CHECKSUM, _CHECKSUM, _CHECKSUM, stops[end], end == last,
            )
        )  # fmt: skip
        start = end
    return segments


def added_nbytes(
    folder: Path,
    identity: Identity,
    match: Match | None,
    planned: Sequence[Segment],
    info: Mapping[str, Any],
    attachments: Mapping[str, bytes],
) -> int:
    """Bytes by which a context's folder grows: what is written, without what it replaces."""
    own = match is not None and match.context.path == folder
    kept = {segment.file for segment in match.segments} if match is not None and own else set()
    written = written_nbytes(identity, match, planned, info, attachments)
    return written - _replaced_nbytes(folder, kept)


def written_nbytes(
    identity: Identity,
    match: Match | None,
    planned: Sequence[Segment],
    info: Mapping[str, Any],
    attachments: Mapping[str, bytes],
) -> int:
    """Bytes of a context's new files: segments, manifest and attachments.

    Not counted are the segments that the context goes on from, which are there or linked.
    """
    before = match.segments if match is not None else ()
    manifest = Manifest(
        identity=identity,
        tokens=planned[-1].end,
        complete=True,
        created=int(time.time()),
        segments=(*before, *planned),
        attachments=tuple(
            Attachment(file, len(data), _CHECKSUM) for file, data in attachments.items()
        ),
        info=info,
    )
    described = len(manifest.encode()) + sum(map(len, attachments.values()))
    return sum(part.nbytes for part in planned) + described


def _replaced_nbytes(folder: Path, kept: set[str]) -> int:
    """Bytes that a folder loses when the context in it is written anew, but for what is kept."""
    if not (folder / FILE).exists():
        return 0
    nbytes = 0
    with suppress(OSError):
        for child in folder.iterdir():
            status = child.stat(follow_symlinks=False)
            lost = child.name not in kept and status.st_nlink == 1
            nbytes += status.st_size if lost else 0
    return nbytes
