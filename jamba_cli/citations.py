"""References as a model writes them, such as `[p. 3]`, `[a.py:12-20]`, `[n.ipynb cell 2]`."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

_FORMS: tuple[tuple[Literal["page", "cell", "line"], re.Pattern[str]], ...] = (
    ("page", re.compile(r"(?:(?P<path>\S.*?)[,:]?\s+)?pp?\.?\s*(?P<first>\d+)(?P<to>.*)", re.I)),
    ("cell", re.compile(r"(?P<path>\S.*?)[,:]?\s+cell\s+(?P<first>\d+)(?P<to>)", re.I)),
    ("line", re.compile(r"(?P<path>\S.*?):\s?L?(?P<first>\d+)(?P<to>.*)")),
)
_RANGE_END = re.compile(r"\s*[-–]\s*L?(\d+)")


@dataclass(frozen=True, slots=True)
class Target:
    """A cited place; `path` is None for a page of the only PDF."""

    text: str  # as written, without brackets
    kind: Literal["page", "cell", "line"]
    path: str | None
    first: int
    last: int


def find_targets(inner: str, paths: Collection[str]) -> list[Target]:
    """The places named between two brackets; empty if it is no reference at all.

    Several may be listed, divided by `;` or `,`.  `paths` are the document's: they tell a
    reference like `[Makefile:3]` from an index like `[i:3]`.
    """
    pieces = [_parse(piece, paths) for piece in re.split(r"[;,]", inner)]
    targets = pieces if all(pieces) else [_parse(inner, paths)]  # a path may hold a comma
    return [target for target in targets if target is not None]


def closing_bracket(text: str) -> int:
    """Where the bracket that `text` begins with has closed, on the same line; 0 if it has not."""
    depth = 0
    for at, character in enumerate(text):
        depth += {"[": 1, "]": -1}.get(character, 0)
        if depth == 0:
            return at + 1
        if character == "\n":
            break
    return 0


def _parse(text: str, paths: Collection[str]) -> Target | None:
    text = text.strip()
    for kind, form in _FORMS:
        match = form.fullmatch(text)
        if match is None:
            continue
        path, first, rest = match["path"], match["first"], match["to"]
        end = _RANGE_END.fullmatch(rest) if rest else None
        if (rest and end is None) or len(first) > 9:
            continue
        if path is None or "." in path or "/" in path or _named(path, paths):
            last = int(end[1]) if end and len(end[1]) < 10 else int(first)
            return Target(text, kind, path, int(first), max(int(first), last))
    return None


def _named(path: str, paths: Collection[str]) -> bool:
    return path in paths or any(known.endswith(f"/{path}") for known in paths)
