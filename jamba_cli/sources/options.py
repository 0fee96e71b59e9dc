"""What the user asked of the reading, and what reading tells while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

MAX_NAMED_BYTES = 256 * 2**20
"""The most that is read from a text file named itself, from standard input or from a URL."""

MAX_TOTAL_BYTES = 512 * 2**20
"""The most text read from all sources together: some 130 million tokens, beyond any context."""


def _no_password(_path: str) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How sources are read; globs are written as in .gitignore, relative to the folder given.

    `include` adds to what is read by default, it does not restrict it: a match overrules every
    reason to leave a file out except that it is binary.  Credentials come back only by a pattern
    whose last component looks like a credential itself (`.env`, `*.pem`), ignored files not by
    wildcards alone, and what lies in an ignored vendored folder only if that folder is spelled
    out.  `exclude` beats `include`.  `max_file_bytes` bounds text files found in a folder.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    pages: str | None = None
    pdf_order: Literal["auto", "stream", "columns"] = "auto"
    keep_headers: bool = False
    password: Callable[[str], str | None] = _no_password
    max_file_bytes: int = 20 * 2**20


@dataclass(frozen=True, slots=True)
class ReadProgress:
    """Where reading is: `path` is the file at hand; pages are those of a PDF, else 0 of 0."""

    path: str
    files_done: int
    files_total: int
    pages_done: int = 0
    pages_total: int = 0
