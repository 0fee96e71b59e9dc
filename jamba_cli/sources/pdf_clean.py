"""Turn the characters that a PDF yields into text fit for a tokenizer and a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# pdfium gives U+0002 for a hyphen that it takes for one made by the line break.
HYPHEN_MARK = "\x02"
UNREADABLE = "\ufffd"

_LIGATURES = {
    "\ufb00": "ff",
    "\ufb01": "fi",
    "\ufb02": "fl",
    "\ufb03": "ffi",
    "\ufb04": "ffl",
    "\ufb05": "ſt",
    "\ufb06": "st",
}
_SURROGATES = re.compile("[\ud800-\udfff]")
_BROKEN = re.compile("[\x00\ufffd\ud800-\udfff]")
_LAST_WORD = re.compile(r"([^\W\d_]+)$")
_FIRST_WORD = re.compile(r"^([^\W\d_]+)")
_COMPOUND = re.compile(r"[^\W\d_]+-[^\W\d_]+")
_WORD = re.compile(r"[^\W\d_]+")


def _translation() -> dict[int, str | None]:
    # Full NFKC would damage mathematics (x² becomes x2), so only what is listed here changes.
    table: dict[int, str | None] = {}
    for code in (*range(0x20), *range(0x7F, 0xA0)):
        table[code] = None
    del table[0x09], table[0x0A]
    table.update({ord(ligature): letters for ligature, letters in _LIGATURES.items()})
    table.update(dict.fromkeys((0x00, *range(0xD800, 0xE000)), UNREADABLE))
    table.update(dict.fromkeys((0xA0, 0x2007, 0x2028, 0x2029, 0x202F), " "))
    table.update(dict.fromkeys(range(0xE000, 0xF900), " "))  # private use
    # What a reader can't see must not reach the model or a terminal: soft hyphens, zero-width
    # characters, bidirectional overrides, noncharacters, tag characters.
    unseen = (0xAD, 0x200B, 0x2060, 0xFEFF, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
    table.update(dict.fromkeys(unseen))
    table.update(dict.fromkeys((0xFFFE, 0xFFFF, *range(0xFDD0, 0xFDF0), *range(0xE0000, 0xE0080))))
    return table


_TABLE = _translation()


def clean_text(text: str) -> str:
    """The text with ligatures spelled out and without control or private-use characters.

    Keeps newline and tab. Characters that could not be decoded become U+FFFD.
    """
    if text.isascii() and text.isprintable():
        return text
    if _SURROGATES.search(text):
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    text = text.translate(_TABLE)
    if text and max(text) >= "\U000f0000":
        text = "".join(" " if char >= "\U000f0000" else char for char in text)
    return text


def clean_word(text: str) -> str:
    """`clean_text` for one word; a soft hyphen at its end becomes a `HYPHEN_MARK`."""
    if text.isascii() and text.isprintable():
        return text
    if text.endswith((HYPHEN_MARK, "\xad", "\ufffe")):
        return clean_text(text[:-1]) + HYPHEN_MARK
    return clean_text(text)


def one_line(text: str, limit: int = 300) -> str:
    """The text cleaned, on one line, of at most `limit` characters."""
    line = " ".join(clean_text(text).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def count_broken(text: str) -> int:
    """How many characters have no meaning: NUL, U+FFFD, lone surrogates (broken ToUnicode map)."""
    if text.isascii():
        return text.count("\x00")
    if _SURROGATES.search(text):
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return len(_BROKEN.findall(text))


class Spelling:
    """The words that a document writes within lines, which decide hyphens at line ends."""

    def __init__(self, lines: Iterable[str] = ()) -> None:
        self._compounds: set[str] = set()
        self._words: set[str] = set()
        for line in lines:
            self.learn(line)

    def learn(self, line: str) -> None:
        """Take up the words and the hyphenated compounds of one line."""
        lower = line.lower()
        self._words.update(_WORD.findall(lower))
        if "-" in lower:
            self._compounds.update(_COMPOUND.findall(lower))

    def keeps_hyphen(self, left: str, right: str) -> bool:
        """Whether the document spells the word with a hyphen and never without."""
        joined = f"{left}{right}".lower()
        return f"{left}-{right}".lower() in self._compounds and joined not in self._words


def join_lines(lines: Sequence[str], spelling: Spelling) -> str:
    """The lines as one text, words broken at a line end made whole.

    A hyphen at a line end goes away only between letters and before a lower-case one.
    """
    done: list[str] = []
    for line in lines:
        if done and (joined := _joined(done[-1], line, spelling)) is not None:
            done[-1] = joined
        else:
            done.append(line)
    return "\n".join(line.replace(HYPHEN_MARK, "-") for line in done)


def _joined(line: str, following: str, spelling: Spelling) -> str | None:
    if not line.endswith((HYPHEN_MARK, "-", "\u2010")):
        return None
    left, right = _LAST_WORD.search(line[:-1]), _FIRST_WORD.match(following)
    if left is None or right is None or not following[0].islower():
        return None
    hyphen = "-" if spelling.keeps_hyphen(left.group(), right.group()) else ""
    return line[:-1] + hyphen + following
