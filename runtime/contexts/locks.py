"""One writer a context: a lock file that the system releases whatever becomes of its holder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER = "locks"

OnWait = Callable[[], None]
"""Called once when another process holds the lock."""


def acquire(path: Path, *, wait: bool, on_wait: OnWait | None = None) -> int | None:
    """The lock as an open file, or None if it is held and `wait` is False."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not wait:
                    os.close(fd)
                    return None
                if on_wait is not None:
                    on_wait()
                    on_wait = None
                fcntl.flock(fd, fcntl.LOCK_EX)
            if _is_at(fd, path):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # its holder removed it: another file may be the lock by now


def release(fd: int, path: Path) -> None:
    """Gives the lock back and removes its file."""
    try:
        path.unlink(missing_ok=True)
    finally:
        os.close(fd)


@contextmanager
def locked(path: Path, on_wait: OnWait | None = None) -> Iterator[None]:
    """Holds the lock, after waiting for whoever has it."""
    fd = acquire(path, wait=True, on_wait=on_wait)
    assert fd is not None
    try:
        yield
    finally:
        release(fd, path)


@contextmanager
def try_locked(path: Path) -> Iterator[bool]:
    """Holds the lock if it is free; says whether it was."""
    fd = acquire(path, wait=False)
    try:
        yield fd is not None
    finally:
        if fd is not None:
            release(fd, path)


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False
