"""What each source on the command line is: a file, a folder, standard input or an address."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urldefrag

from jamba_cli.sources.names import safe_name
from jamba_cli.sources.openfile import special_kind
from jamba_cli.sources.url import check_scheme
from runtime.errors import InputError, UsageError

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_PAGES = re.compile(r"(?:pages?=)?([\d,\s-]+)")


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file that was named itself."""

    typed: str
    path: Path
    pages: str | None = None


@dataclass(frozen=True, slots=True)
class FolderSource:
    """A folder, to be listed."""

    typed: str
    path: Path


@dataclass(frozen=True, slots=True)
class StdinSource:
    """Standard input."""


@dataclass(frozen=True, slots=True)
class UrlSource:
    """A file at an address; `url` has no fragment."""

    url: str
    pages: str | None = None


Source = FileSource | FolderSource | StdinSource | UrlSource


def locate(source: str) -> Source:
    """Finds out what a source is, from its spelling and the file system alone.

    Raises InputError for what does not exist or can't be read, UsageError for other schemes.
    """
    if source == "-":
        return StdinSource()
    if not source:
        raise UsageError("a source is empty", hint="give a file, a folder, - or an http(s) address")
    if _SCHEME.match(source):
        check_scheme(source)
        url, fragment = urldefrag(source)
        pages = _PAGES.fullmatch(fragment)
        return UrlSource(url, pages[1] if pages else None)
    try:
        return _on_disk(source)
    except ValueError as error:  # a NUL inside
        raise InputError(f"{safe_name(source)}: not a valid path") from error
    except OSError as error:
        reason = (error.strerror or "unreadable").lower()
        raise InputError(f"{safe_name(source)}: {reason}") from error


def _on_disk(source: str) -> Source:
    path = Path(source)
    pages = None
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        bare, mark, pages = source.rpartition("#")
        if not (mark and pages and Path(bare).is_file()):
            raise _missing(source) from error
        source, path = bare, Path(bare)
        mode = path.stat().st_mode
    if path.is_dir():
        return FolderSource(source, path)
    kind = special_kind(mode)
    if kind == "a named pipe" and _is_open_already(path):
        kind = None  # `<(command)` of a shell
    if kind is not None:
        raise InputError(
            f"{safe_name(source)}: it is {kind}, not a file",
            hint="pipe its content: jamba ... - < FILE",
        )
    return FileSource(source, path, pages)


def _is_open_already(path: Path) -> bool:
    return str(path).startswith(("/dev/fd/", "/proc/self/fd/"))


def _missing(source: str) -> InputError:
    path = Path(source)
    if path.is_symlink():
        return InputError(f"{safe_name(source)}: a link to something that does not exist")
    hint = f"looked in {safe_name(str(Path.cwd()))}" if not path.is_absolute() else None
    close = _close_match(path)
    if close is not None:
        hint = f"did you mean {safe_name(close)}?"
    return InputError(f"{safe_name(source)}: no such file or folder", hint=hint)


def _close_match(path: Path) -> str | None:
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return None
    by_folded = {name.casefold(): name for name in names}
    found = difflib.get_close_matches(path.name.casefold(), by_folded, n=1, cutoff=0.6)
    return str(path.parent / by_folded[found[0]]) if found else None
