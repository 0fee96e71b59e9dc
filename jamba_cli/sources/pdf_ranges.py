"""Page ranges as the user writes them: `3-10,12,20-`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from runtime.errors import InputError, UsageError

_PIECE = re.compile(r"^(\d{1,9})?(?:(-)(\d{1,9})?)?$", re.ASCII)
_EXAMPLE = "write pages as 3-10,12,20- (the first page is 1)"


def parse_pages(text: str | None, count: int, display: str) -> list[int]:
    """The physical pages that `text` names, each once, in the document's order; None names all.

    Raises UsageError for bad syntax and InputError for pages beyond the last one, `count`.
    """
    if text is None:
        return list(range(1, count + 1))
    wanted: set[int] = set()
    for piece in text.split(","):
        first, last = _bounds(piece.strip(), count, text)
        if first > count or last > count:
            beyond = first if first > count else last
            have = "1 page" if count == 1 else f"{count:,} pages"
            raise InputError(
                f"{display}: no page {beyond}, the document has {have}",
                hint=f"choose from 1-{count}" if count > 1 else None,
            )
        wanted.update(range(first, last + 1))
    return sorted(wanted)


def _bounds(piece: str, count: int, text: str) -> tuple[int, int]:
    match = _PIECE.match(piece)
    if match is None or not (match[1] or match[3]):
        raise UsageError(f"not a page range: {text!r}", hint=_EXAMPLE)
    first = int(match[1]) if match[1] else 1
    last = int(match[3]) if match[3] else first if match[2] is None else max(first, count)
    if first < 1 or last < 1:
        raise UsageError(f"not a page range: {text!r}: there is no page 0", hint=_EXAMPLE)
    if last < first:
        raise UsageError(f"not a page range: {text!r}: {first} comes after {last}", hint=_EXAMPLE)
    return first, last


def name_pages(pages: Iterable[int], *, limit: int = 8) -> str:
    """Pages in words: `p. 7`, `pp. 2-4, 9`; after `limit` runs only the number of the rest."""
    runs: list[list[int]] = []
    for page in sorted(pages):
        if runs and page == runs[-1][1] + 1:
            runs[-1][1] = page
        else:
            runs.append([page, page])
    words = [str(a) if a == b else f"{a}-{b}" for a, b in runs[:limit]]
    rest = sum(b - a + 1 for a, b in runs[limit:])
    single = len(runs) == 1 and runs[0][0] == runs[0][1]
    tail = f" and {rest} more" if rest else ""
    return ("p. " if single else "pp. ") + ", ".join(words) + tail
