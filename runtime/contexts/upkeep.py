"""Keeps the contexts folder small and sound: quota, removal, clean-up, checking."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from runtime.contexts import catalog, files, names
from runtime.contexts.hashing import DamagedError
from runtime.contexts.locks import FOLDER as LOCKS
from runtime.contexts.locks import try_locked
from runtime.contexts.manifest import FILE
from runtime.contexts.records import Collected, Context, Segment

if TYPE_CHECKING:
    from runtime.contexts.store import ContextStore

RESERVE_BYTES = 500_000_000
"""Free space that saving leaves to everybody else."""

SHOWN = 8
"""Ids of removed contexts that one line lists."""


def delete(folder: Path) -> int:
    """Removes a context's folder, what makes it visible first; returns the bytes freed."""
    freed = 0
    for child in sorted(folder.iterdir(), key=lambda each: each.name != FILE):
        status = child.stat(follow_symlinks=False)
        child.unlink(missing_ok=True)
        freed += status.st_size if status.st_nlink == 1 else 0
    with suppress(OSError):
        folder.rmdir()
    return freed


def used_bytes(contexts: Sequence[Context]) -> int:
    """What contexts take on the disk: a file that several share counts once."""
    sizes: dict[tuple[int, int], int] = {}
    for context in contexts:
        with suppress(OSError):
            for child in context.path.iterdir():
                status = child.stat(follow_symlinks=False)
                sizes[status.st_dev, status.st_ino] = status.st_size
    return sum(sizes.values())


class Room(NamedTuple):
    """Whether there is room now; the notes say what was removed for it, or why there is none."""

    made: bool
    notes: tuple[str, ...] = ()


def make_room(
    store: ContextStore, nbytes: int, keep: Collection[str], *, beside: Collection[str] = ()
) -> Room:
    """Removes contexts until `nbytes` more fit the quota and the disk.

    Never those in `keep`, which belong to what is going to be written, nor `beside`, which the same
    run uses.  The least recently used go first, and for the disk none that has a name.  None go if
    what is kept leaves no room in the quota, or if the disk would be too full without all of them.
    """
    contexts = store.contexts()
    if refusal := _over_quota(contexts, store.quota_bytes, nbytes, keep, beside):
        return Room(False, (refusal,))
    keep = {*keep, *beside}
    evicted = list(_evict(store, contexts, store.quota_bytes - nbytes, keep))
    keep |= {context.id for context, _freed in evicted}
    spare = [each for each in contexts if not each.names and each.id not in keep]
    notes = _evicted(evicted, store.quota_bytes)
    notes += _free_disk(store, spare, nbytes + RESERVE_BYTES)
    free = files.free_bytes(store.root)
    if nbytes + RESERVE_BYTES > free:
        refusal = (
            f"not saved: it takes {nbytes / 1e6:,.0f} MB, and only {free / 1e6:,.0f} MB are free "
            f"at {store.root}, where {RESERVE_BYTES / 1e6:,.0f} MB are to stay free"
        )
        return Room(False, (*notes, refusal))
    return Room(True, notes)


def _over_quota(
    contexts: Sequence[Context],
    quota: int,
    nbytes: int,
    keep: Collection[str],
    beside: Collection[str],
) -> str:
    """Why there can't be room whatever is removed; empty if there can."""
    if nbytes <= quota < nbytes + used_bytes([each for each in contexts if each.id in beside]):
        return "not saved: the quota for saved contexts has no room beside what this run uses"
    needed = nbytes + used_bytes([each for each in contexts if each.id in {*keep, *beside}])
    if needed > quota:
        return (
            f"not saved: {needed / 1e6:,.1f} MB are more than the quota for saved contexts, "
            f"{quota / 1e6:,.1f} MB"
        )
    return ""


def _evicted(evicted: Sequence[tuple[Context, int]], quota: int) -> tuple[str, ...]:
    """What went for the quota, and the bytes that each freed, in a line; named ones by name."""
    if not evicted:
        return ()
    freed = sum(nbytes for _context, nbytes in evicted)
    count = "1 saved context" if len(evicted) == 1 else f"{len(evicted)} saved contexts"
    labels = [f"@{name}" for name in sorted({one for each, _ in evicted for one in each.names})]
    bare = [each.id for each, _ in evicted if not each.names]
    labels += bare[:SHOWN]
    more = f" and {len(bare) - SHOWN} more" if len(bare) > SHOWN else ""
    return (
        f"for the quota of {quota / 1e6:,.1f} MB removed {count}, the longest unused, "
        f"{freed / 1e6:,.1f} MB: {', '.join(labels)}{more}",
    )


def _free_disk(store: ContextStore, spare: Sequence[Context], wanted: int) -> tuple[str, ...]:
    """Removes some of the contexts, the most recently used first in the list, until so many bytes
    are free; what it removed, in a line."""
    missing = wanted - files.free_bytes(store.root)
    if missing <= 0:
        return ()
    gone: list[str] = []
    freed = 0
    for context in _enough(reversed(spare), missing):
        with try_locked(store.lock_path(context.id)) as free:
            if free:
                freed += delete(context.path)
                gone.append(context.id)
    if not gone:
        return ()
    return (
        f"the disk is nearly full: removed the saved contexts that were not used for longest, "
        f"{freed / 1e6:,.0f} MB: {', '.join(gone)}",
    )


def _enough(contexts: Iterable[Context], missing: int) -> list[Context]:
    """The first contexts whose removal frees so many bytes; none if that of all does not.

    A file that several share is freed with the last of them.
    """
    chosen: list[Context] = []
    links: Counter[tuple[int, int]] = Counter()
    for context in contexts:
        chosen.append(context)
        with suppress(OSError):
            for child in context.path.iterdir():
                status = child.stat(follow_symlinks=False)
                file = (status.st_dev, status.st_ino)
                links[file] += 1
                missing -= status.st_size if links[file] == status.st_nlink else 0
        if missing <= 0:
            return chosen
    return []


def _evict(
    store: ContextStore, contexts: Sequence[Context], limit: int, keep: Collection[str] = ()
) -> Iterator[tuple[Context, int]]:
    """Removes the least recently used until at most `limit` bytes are left; what each freed."""
    order = sorted(contexts, key=lambda each: (bool(each.names), each.used))
    used = used_bytes(contexts)
    for context in order:
        if used <= limit:
            return
        if context.id in keep:
            continue
        with try_locked(store.lock_path(context.id)) as free:
            if free:
                freed = delete(context.path)
                used -= freed
                yield context, freed


def collect(store: ContextStore) -> Collected:
    """Leftovers, damaged and outdone contexts, and what is over the quota."""
    removed: list[str] = []
    nbytes = 0
    if not store.root.exists():
        return Collected((), 0, (), 0)
    known = names.by_context(store.root)
    for folder in catalog.folders(store.root):
        with try_locked(store.lock_path(folder.name)) as free:
            if not free:
                continue
            nbytes += _partials(folder, removed)
            context = catalog.read_context(folder, known)
            if context is None or not (context.problem or context.segments):
                removed.append(f"{folder.name}: unfinished")
                nbytes += delete(folder)
            elif context.problem and not context.other_format:
                removed.append(f"{_title(context)}: {context.problem}")
                nbytes += delete(folder)
    for context in _outdone(store.contexts()):
        with try_locked(store.lock_path(context.id)) as free:
            if free:
                removed.append(f"{context.id}: unfinished, and another context has all of it")
                nbytes += delete(context.path)
    for context, freed in _evict(store, store.contexts(), store.quota_bytes):
        removed.append(f"{_title(context)}: over the quota")
        nbytes += freed
    nbytes += _partials(store.root / names.FOLDER, removed)
    for path in (store.root / LOCKS).glob("*.lock"):
        with try_locked(path):  # what a process that was killed left is removed by this
            pass
    kept = store.contexts()
    return Collected(tuple(removed), nbytes, tuple(kept), used_bytes(kept))


def _title(context: Context) -> str:
    """A context's id, and the names that it leaves without it."""
    named = " ".join(f"@{name}" for name in context.names)
    return f"{context.id} ({named})" if named else context.id


def _partials(folder: Path, removed: list[str]) -> int:
    freed = 0
    for path in folder.glob(f".*{files.PARTIAL}"):
        with suppress(OSError):
            size = path.stat().st_size
            path.unlink()
            removed.append(f"{folder.name}: a file that was not finished")
            freed += size
    return freed


def _outdone(contexts: list[Context]) -> Iterator[Context]:
    whole = [set(each.segments) for each in contexts if each.complete and not each.problem]
    for context in contexts:
        own = set(context.segments)
        if not context.complete and not context.names and any(own <= each for each in whole):
            yield context


def verify(context: Context) -> list[str]:
    """Reads every byte of a context; the problems that it finds, a line each."""
    try:
        manifest = catalog.read_manifest(context.path)
    except DamagedError as error:
        return [str(error)]
    problems = []
    for segment in manifest.segments:
        problems += _check_segment(context.path, segment)
    for each in manifest.attachments:
        wrong = catalog.wrong_size(context.path, each.file, each.nbytes)
        if not wrong:
            found = _hash(context.path / each.file, each.nbytes)
            wrong = "" if found == (each.checksum, _NOTHING) else _mismatch(each.file)
        problems += [wrong] if wrong else []
    return problems


_NOTHING = hashlib.sha256().hexdigest()


def _check_segment(folder: Path, segment: Segment) -> list[str]:
    if wrong := catalog.wrong_size(folder, segment.file, segment.nbytes):
        return [wrong]
    found = _hash(folder / segment.file, segment.state_offset)
    sound = found == (segment.checksum, segment.state_checksum)
    return [] if sound else [_mismatch(segment.file)]


def _mismatch(file: str) -> str:
    return f"{file}: its checksum does not match"


def _hash(path: Path, split: int) -> tuple[str, str]:
    """The checksums of a file's bytes before and from `split`; empty ones if it can't be read."""
    before, after = hashlib.sha256(), hashlib.sha256()
    try:
        with path.open("rb", buffering=0) as file:
            done = 0
            while block := file.read(files.BLOCK_BYTES):
                cut = max(0, min(len(block), split - done))
                view = memoryview(block)
                before.update(view[:cut])
                after.update(view[cut:])
                done += len(block)
    except OSError:
        return "", ""
    return before.hexdigest(), after.hexdigest()
