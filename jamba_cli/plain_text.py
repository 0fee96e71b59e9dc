"""Markdown out of an answer while it streams, line by line."""

from __future__ import annotations

import re

_MARKS = (
    (re.compile(r"^\s*(?:#{1,6}|[-*+>])\s+"), ""),
    (re.compile(r"\*\*(.+?)\*\*|__(.+?)__"), r"\1\2"),
    (re.compile(r"`([^`]+)`"), r"\1"),
    (re.compile(r"^\s*(?:```.*|---+|===+)$"), ""),
)


class PlainText:
    """Removes headings, bullets, emphasis and code marks; lines stay lines."""

    def __init__(self) -> None:
        self._line = ""

    def push(self, text: str) -> str:
        """Takes text; returns the lines that are whole."""
        *whole, self._line = (self._line + text).split("\n")
        return "".join(_plain(line) + "\n" for line in whole)

    def flush(self) -> str:
        """The last line."""
        line, self._line = self._line, ""
        return _plain(line)


def _plain(line: str) -> str:
    for pattern, replacement in _MARKS:
        line = pattern.sub(replacement, line)
    return line
