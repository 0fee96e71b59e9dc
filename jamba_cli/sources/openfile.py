"""Opening files that may be anything: links, pipes, devices, huge, forbidden, or gone."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from jamba_cli.sources.names import size_text


class LeftOutError(Exception):
    """A file that is not read; `reason` is shown to the user beside its path."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISLNK, "a link"),
)


def special_kind(mode: int) -> str | None:
    """What a thing that is not a regular file is, in words; None for a regular file."""
    return next((words for test, words in _KINDS if test(mode)), None)


def os_reason(error: OSError) -> str:
    """Why the system refused, in a few words."""
    if isinstance(error, FileNotFoundError):
        return "vanished while reading"
    return f"unreadable ({error.strerror or type(error).__name__})"


@contextmanager
def open_regular(path: Path, *, follow: bool) -> Iterator[BinaryIO]:
    """Opens a regular file, without ever waiting for a pipe's other end.

    Raises LeftOutError for everything else; `follow` says whether `path` may be a link.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    flags |= getattr(os, "O_BINARY", 0)
    if not follow:
        flags |= getattr(os, "O_NOFOLLOW", 0)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        kind = _kind_of(path, follow=follow)
        raise LeftOutError(kind or os_reason(error)) from error
    with os.fdopen(descriptor, "rb") as file:
        kind = special_kind(os.fstat(descriptor).st_mode)
        if kind is not None:
            raise LeftOutError(kind)
        yield file


def _kind_of(path: Path, *, follow: bool) -> str | None:
    try:
        return special_kind((path.stat() if follow else path.lstat()).st_mode)
    except OSError:
        return None


def read_bounded(file: BinaryIO, limit_bytes: int) -> bytes:
    """Reads to the end, but never more than `limit_bytes` + 1; raises LeftOutError."""
    pieces: list[bytes] = []
    left = limit_bytes + 1
    try:
        while left > 0 and (piece := file.read(min(left, 2**20))):
            pieces.append(piece)
            left -= len(piece)
    except OSError as error:
        raise LeftOutError(os_reason(error)) from error
    return b"".join(pieces)


def check_size(size_bytes: int, limit_bytes: int) -> None:
    """Raises LeftOutError for a file over the limit."""
    if size_bytes > limit_bytes:
        raise LeftOutError(
            f"too large ({size_text(size_bytes)}, the limit is {size_text(limit_bytes)})"
        )
