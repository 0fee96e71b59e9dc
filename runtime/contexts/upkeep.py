"""Keeps the contexts folder small and sound: quota, removal, clean-up, checking."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
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


def delete(folder: Path) -> int:
    """Removes a context's folder, what makes it visible first; returns the bytes freed."""
    (folder / FILE).unlink(missing_ok=True)
    freed = 0
    for child in folder.iterdir():
        status = child.stat(follow_symlinks=False)
        child.unlink(missing_ok=True)
        freed += status.st_size if status.st_nlink == 1 else 0
    with suppress(OSError):
        folder.rmdir()
    return freed


def used_bytes(contexts: list[Context]) -> int:
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
    if refusal := _over_quota(store, nbytes, keep, beside):
        return Room(False, (refusal,))
    keep = {*keep, *beside}
    list(_evict(store, store.quota_bytes - nbytes, keep))
    notes = _free_disk(store, nbytes + RESERVE_BYTES, keep)
    free = files.free_bytes(store.root)
    if nbytes + RESERVE_BYTES > free:
        refusal = (
            f"not saved: it takes {nbytes / 1e6:,.0f} MB, and only {free / 1e6:,.0f} MB are free "
            f"at {store.root}, where {RESERVE_BYTES / 1e6:,.0f} MB are to stay free"
        )
        return Room(False, (*notes, refusal))
    return Room(True, notes)


def _over_quota(
    store: ContextStore, nbytes: int, keep: Collection[str], beside: Collection[str]
) -> str:
    """Why there can't be room whatever is removed; empty if there can."""
    contexts, quota = store.contexts(), store.quota_bytes
    if nbytes <= quota < nbytes + used_bytes([each for each in contexts if each.id in beside]):
        return "not saved: the quota for saved contexts has no room beside what this run uses"
    needed = nbytes + used_bytes([each for each in contexts if each.id in {*keep, *beside}])
    if needed > quota:
        return (
            f"not saved: {needed / 1e6:,.1f} MB are more than the quota for saved contexts, "
            f"{quota / 1e6:,.1f} MB"
        )
    return ""


def _free_disk(store: ContextStore, wanted: int, keep: Collection[str]) -> tuple[str, ...]:
    """Removes contexts without a name until so many bytes are free; what it removed, in a line."""
    missing = wanted - files.free_bytes(store.root)
    if missing <= 0:
        return ()
    spare = [each for each in store.contexts() if not each.names and each.id not in keep]
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
    store: ContextStore, limit: int, keep: Collection[str] = ()
) -> Iterator[tuple[Context, int]]:
    """Removes the least recently used until at most `limit` bytes are left."""
    contexts = store.contexts()
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
    if not store.root.is_dir():
        return Collected((), 0)
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
                removed.append(f"{folder.name}: {context.problem}")
                nbytes += delete(folder)
    for context in _outdone(store.contexts()):
        with try_locked(store.lock_path(context.id)) as free:
            if free:
                removed.append(f"{context.id}: unfinished, and another context has all of it")
                nbytes += delete(context.path)
    for context, freed in _evict(store, store.quota_bytes):
        removed.append(f"{context.id}: over the quota")
        nbytes += freed
    nbytes += _partials(store.root / names.FOLDER, removed)
    for path in (store.root / LOCKS).glob("*.lock"):
        with try_locked(path):  # what a process that was killed left is removed by this
            pass
    left = tuple(context for context in store.contexts() if context.other_format)
    return Collected(tuple(removed), nbytes, left)


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
