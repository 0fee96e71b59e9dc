"""HTML -> text by the standard library's parser, each line where it stands in the file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import unescape
from html.parser import HTMLParser

from jamba_cli.sources.text import clean

MAX_LINE_CHARS = 2000
"""A longer line of text means that the file's own lines say nothing."""

_SKIPPED = frozenset({"script", "style"})  # the parser itself reads them to their end tag
_HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}
_CELLS = frozenset({"td", "th"})
_BLOCKS_WORDS = """
    address article aside blockquote body br caption center dd details dialog dir div dl dt
    fieldset figcaption figure footer form frameset h1 h2 h3 h4 h5 h6 head header hr html legend
    li main menu nav noscript ol optgroup option p pre section select summary table tbody tfoot
    thead title tr ul
"""
_BLOCKS = frozenset(_BLOCKS_WORDS.split())
# Marks between blocks and for kept spaces: noncharacters, which no character reference yields.
_BREAK, _CELL, _SPACE, _TAB = "\ufdd0", "\ufdd1", "\ufdd2", "\ufdd3"
_KEEP_SPACES = str.maketrans({" ": _SPACE, "\t": _TAB})
_GIVE_SPACES = str.maketrans({_SPACE: " ", _TAB: "\t"})
_SPACES = re.compile(r"[ \t\u00a0]+")


@dataclass(frozen=True, slots=True)
class StrippedHtml:
    """Text without tags; `keeps_lines` tells whether line n is line n of the file."""

    text: str
    keeps_lines: bool


def strip_html(source: str) -> StrippedHtml:
    """The text of a page, in time linear in its length; never raises.

    `source` is clean text.  Lines keep their numbers, unless the page is written in so few lines
    that a number would say nothing: then each block gets a line of its own.
    """
    parser = _TextParser()
    body, tail = _closed_part(source)
    parser.feed(body)
    tail = "\n" * tail.count("\n") if parser.skipping else _unescaped(tail)
    parser.close()
    parser.reach_line(body.count("\n") + 1)  # the parser drops a script that is never closed
    marked = clean("".join(parser.pieces) + tail)
    lines = [_one_line(line) for line in marked.split("\n")]
    if max(map(len, lines)) <= MAX_LINE_CHARS:
        return StrippedHtml("\n".join(lines), keeps_lines=True)
    blocks = (_one_line(block) for block in marked.replace("\n", " ").split(_BREAK))
    return StrippedHtml("\n".join(filter(None, blocks)) + "\n", keeps_lines=False)


def _closed_part(source: str) -> tuple[str, str]:
    # The parser searches the whole rest for the end of each comment or tag that has none; with
    # a hundred thousand of them that takes hours.  What can't be closed is made text beforehand.
    # Marked sections make it raise; to a browser they are comments up to the next ">".
    last = source.rfind(">") + 1
    body, tail = source[:last].replace("<![", "<!-["), source[last:]
    end = body.rfind("-->") + 1
    return body[:end] + body[end:].replace("<!--", ""), tail


def _unescaped(text: str) -> str:
    # A reference like `&#10;` must not add a line.
    lines = (re.sub(r"[\r\n]", " ", unescape(line)) for line in text.split("\n"))
    return "\n".join(lines)


def _one_line(marked: str) -> str:
    blocks = []
    for block in _SPACES.sub(" ", marked).split(_BREAK):
        cells = [stripped for cell in block.split(_CELL) if (stripped := cell.strip())]
        if cells:
            blocks.append(" | ".join(cells))
    return "  ".join(blocks).translate(_GIVE_SPACES).rstrip()


class _TextParser(HTMLParser):
    """Collects text, line ends and marks; `pieces` joined has the source's line ends."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.pieces: list[str] = []
        self.skipping = ""  # the tag whose content is dropped
        self._line = 1
        self._prefix = ""  # "# " of a heading, until its text comes
        self._preformatted = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._catch_up()
        if tag in _SKIPPED:
            self.skipping = tag
        elif tag in _CELLS:
            self.pieces.append(_CELL)
        elif tag in _BLOCKS:
            self.pieces.append(_BREAK)
            self._prefix = _HEADINGS.get(tag, "- " if tag == "li" else "")
            self._preformatted += tag == "pre"

    def handle_endtag(self, tag: str) -> None:
        self._catch_up()
        if tag == self.skipping:
            self.skipping = ""
        elif tag in _BLOCKS:
            self.pieces.append(_BREAK)
            self._prefix = ""
            if tag == "pre" and self._preformatted:
                self._preformatted -= 1

    def handle_data(self, data: str) -> None:
        self._catch_up()
        if self.skipping:
            return
        self._line += data.count("\n")
        self._add(data)

    def handle_entityref(self, name: str) -> None:
        self._add_reference(f"&{name};")

    def handle_charref(self, name: str) -> None:
        self._add_reference(f"&#{name};")

    def _add_reference(self, written: str) -> None:
        self._catch_up()
        if not self.skipping:
            self._add(_unescaped(written))

    def _add(self, text: str) -> None:
        if self._preformatted:
            text = text.translate(_KEEP_SPACES)
        elif self._prefix and (stripped := text.lstrip()):
            text = text[: len(text) - len(stripped)] + self._prefix + stripped
            self._prefix = ""
        self.pieces.append(text)

    def close(self) -> None:
        super().close()
        self._catch_up()

    def _catch_up(self) -> None:
        # Line ends inside tags, comments and scripts are no data: they are added when passed.
        self.reach_line(self.getpos()[0])

    def reach_line(self, line: int) -> None:
        """Adds the line ends up to a line, 1-based, that are not there yet."""
        if line > self._line:
            self.pieces.append("\n" * (line - self._line))
            self._line = line
