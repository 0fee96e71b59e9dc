"""Files that appear whole or not at all, readable by their owner only."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from runtime.errors import JambaError

BLOCK_BYTES = 4 << 20
"""Bytes written at a time: few enough that a stop is noticed soon."""

READERS = max(2, min(16, os.cpu_count() or 2))
"""Files read at a time: hashing takes a core each."""

PARTIAL = ".partial"


@contextmanager
def told(root: Path) -> Iterator[None]:
    """Lets an OSError in the contexts folder be a JambaError that says where and why."""
    try:
        yield
    except OSError as error:
        raise JambaError(
            f"saved contexts: {error.filename or root}: {error.strerror or error}",
            hint="JAMBA_CONTEXTS names another folder for them",
        ) from error


def children(folder: Path) -> list[Path]:
    """What lies in a folder, sorted; nothing if there is no such folder.  Raises OSError."""
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


class Stopped(Exception):  # noqa: N818  says what happened; nothing is wrong
    """Writing was given up because the program ends."""


def private_folder(path: Path) -> None:
    """Makes a folder that only its owner can enter, and those above it, where missing."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from None


def write(
    path: Path, parts: Iterable[bytes | memoryview], stop: threading.Event | None = None
) -> None:
    """Writes a file under a temporary name, brings it to the disk and renames it.

    Raises OSError, or Stopped once `stop` is set; then nothing is left of it.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}{PARTIAL}")
    try:
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            for part in parts:
                _write_blocks(fd, memoryview(part), stop)
            os.fsync(fd)
            _check(stop)  # the parts may be others' again by now: what was read of them may be too
        finally:
            os.close(fd)
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _write_blocks(fd: int, data: memoryview, stop: threading.Event | None) -> None:
    done = 0
    while done < len(data):
        _check(stop)
        done += os.write(fd, data[done : done + BLOCK_BYTES])


def _check(stop: threading.Event | None) -> None:
    if stop is not None and stop.is_set():
        raise Stopped


def sync_folder(path: Path) -> None:
    """Brings renames in a folder to the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def link(source: Path, target: Path) -> None:
    """Makes `target` the same file as `source`, or a copy where links are not supported."""
    if target.exists() and target.samefile(source):
        return
    partial = target.with_name(f".{target.name}.{os.getpid()}{PARTIAL}")
    partial.unlink(missing_ok=True)
    try:
        try:
            partial.hardlink_to(source)
        except OSError:
            shutil.copyfile(source, partial)
            partial.chmod(0o600)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def folder_nbytes(path: Path) -> int:
    """Bytes of the files in a folder."""
    total = 0
    with suppress(FileNotFoundError), os.scandir(path) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                total += entry.stat(follow_symlinks=False).st_size
    return total


def free_bytes(path: Path) -> int:
    """Bytes that can be written to the file system of a folder that exists."""
    return shutil.disk_usage(path).free
