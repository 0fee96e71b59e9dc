"""Writes a context segment by segment, beside the run that reads its tokens."""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from runtime.contexts import files, upkeep
from runtime.contexts.catalog import read_manifest
from runtime.contexts.hashing import checksum
from runtime.contexts.manifest import FILE, Attachment, Manifest, segment_file
from runtime.contexts.records import Identity, Match, Segment
from runtime.contexts.transfer import Frozen, Transfer

WAITING = 2
"""Segments that may wait to be written: their states take memory."""

GRACE_S = 0.6
"""How long a stopped program writes on: the command line ends 0.8 s after a signal."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A segment that is read but not written."""

    frozen: Frozen
    prefix_hash: str
    label: str
    logits: bool


class ContextWriter:
    """The one writer of a context, which holds its lock; a context manager.

    What fails, a full disk for one, ends the writing and not the run: `note` says it, and the
    context stays as it was at its last checkpoint.
    """

    def __init__(
        self, folder: Path, manifest: Manifest, transfer: Transfer, held: ExitStack
    ) -> None:
        """`held` has the lock, which is kept for as long as anything may be written."""
        self.folder = folder
        self.manifest = manifest
        self.note = ""
        self.waited_s = 0.0
        self._transfer = transfer
        self._held = held
        self._queue: queue.Queue[Draft | None] = queue.Queue(WAITING)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jamba-context", daemon=True)

    def __enter__(self) -> ContextWriter:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Writes what waits; after a signal only as long as the program has left to live."""
        started = time.monotonic()
        hurried = kind is not None and not issubclass(kind, Exception)
        limit = GRACE_S if hurried else threading.TIMEOUT_MAX
        try:
            self._put(None, limit)
            self._thread.join(max(0.0, limit - (time.monotonic() - started)))
        finally:
            self._stop.set()
            if self._thread.is_alive():
                waiter = threading.Thread(
                    target=_release, args=(self._thread, self._held.pop_all()), daemon=True
                )
                waiter.start()
            elif not self.manifest.segments:
                with suppress(OSError):
                    upkeep.delete(self.folder)
        self.waited_s += time.monotonic() - started

    def hand_over(self, draft: Draft) -> None:
        """Lets a segment be written; waits only if too many do."""
        started = time.monotonic()
        self._put(draft, threading.TIMEOUT_MAX)
        self.waited_s += time.monotonic() - started

    def _put(self, draft: Draft | None, limit_s: float) -> None:
        """Queues a draft, or None for the end, unless the thread is gone or time is up."""
        until = time.monotonic() + limit_s
        while self._thread.is_alive() and time.monotonic() < until:
            with suppress(queue.Full):
                self._queue.put(draft, timeout=min(0.1, limit_s))
                return

    def _run(self) -> None:
        while (draft := self._queue.get()) is not None:
            if self.note or self._stop.is_set():
                continue
            try:
                self._write(draft)
            except files.Stopped:
                return
            except RuntimeError:  # the interpreter ends: nothing more is hashed
                if not self._stop.is_set():
                    raise
                return
            except OSError as error:
                end = self.manifest.segments[-1].end if self.manifest.segments else 0
                self.note = (
                    f"saving stopped after {end:,} of {self.manifest.tokens:,} tokens: "
                    f"{error.strerror or error}"
                )

    def _write(self, draft: Draft) -> None:
        part = draft.frozen.layout
        file = segment_file(part.start, part.end)
        before, after = hashlib.sha256(part.header), hashlib.sha256()

        def parts() -> Iterator[bytes | memoryview]:
            yield part.header
            yield from _hashed(self._transfer.fetch(draft.frozen, part.rows), before)
            yield from _hashed(self._transfer.fetch(draft.frozen, part.states), after)

        files.write(self.folder / file, parts(), self._stop)
        segment = Segment(
            start=part.start,
            end=part.end,
            file=file,
            nbytes=part.nbytes,
            state_offset=part.state_offset,
            checksum=before.hexdigest(),
            state_checksum=after.hexdigest(),
            prefix_hash=draft.prefix_hash,
            label=draft.label,
            logits=draft.logits,
        )
        manifest = self.manifest.with_segment(segment)
        files.write(self.folder / FILE, [manifest.encode()])
        self.manifest = manifest


def _release(writing: threading.Thread, held: ExitStack) -> None:
    writing.join()
    held.close()


def _hashed(views: Iterable[memoryview], digest: hashlib._Hash) -> Iterator[memoryview]:
    """Blocks of the views, each hashed while it is written: the two take about as long."""
    with ThreadPoolExecutor(1, "jamba-context-hash") as hasher:
        for view in views:
            for start in range(0, len(view), files.BLOCK_BYTES):
                block = view[start : start + files.BLOCK_BYTES]
                hashed = hasher.submit(digest.update, block)
                yield block
                hashed.result()


def begin(
    folder: Path,
    identity: Identity,
    tokens: int,
    match: Match | None,
    info: Mapping[str, Any],
    attachments: Mapping[str, bytes],
    *,
    complete: bool = False,
) -> Manifest:
    """Makes a folder hold the matched segments and nothing else, under its lock.

    Segments of another context are linked, so that they take no space; `complete` says that they
    are all of the prompt.  Raises OSError.
    """
    files.private_folder(folder)
    segments = match.segments if match is not None else ()
    if match is not None and match.context.path != folder:
        (folder / FILE).unlink(missing_ok=True)  # it speaks of files that are replaced now
        for segment in segments:
            files.link(match.context.path / segment.file, folder / segment.file)
    described = describe(folder, attachments)
    manifest = Manifest(identity, tokens, complete, int(time.time()), segments, described, info)
    files.write(folder / FILE, [manifest.encode()])
    kept = {FILE, *manifest.files}
    for child in folder.iterdir():
        if child.name not in kept:
            child.unlink(missing_ok=True)
    return manifest


def describe(folder: Path, attachments: Mapping[str, bytes]) -> tuple[Attachment, ...]:
    """Writes the attachments and returns how the manifest knows them."""
    for file, data in attachments.items():
        files.write(folder / file, [data])
    return tuple(
        Attachment(file, len(data), checksum(data)) for file, data in sorted(attachments.items())
    )


def redescribe(folder: Path, info: Mapping[str, Any], attachments: Mapping[str, bytes]) -> None:
    """Gives a finished context other info and attachments, or mends the ones that it should have.

    Raises OSError, DamagedError.
    """
    manifest = read_manifest(folder)
    wanted = {file: checksum(data) for file, data in attachments.items()}
    held = {each.file: each.checksum for each in manifest.attachments}
    sound = all(_holds(folder / file, data) for file, data in attachments.items())
    if dict(manifest.info) == dict(info) and held == wanted and sound:
        return
    described = describe(folder, attachments)
    files.write(folder / FILE, [replace(manifest, info=info, attachments=described).encode()])


def _holds(path: Path, data: bytes) -> bool:
    """Whether a file is there and is these bytes."""
    try:
        return path.read_bytes() == data
    except OSError:
        return False
