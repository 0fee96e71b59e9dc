"""Where sentences begin and end in running text: one rule for training, tasks and answers."""

from __future__ import annotations

import re

_ABBREVIATION = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|St|Jr|Sr|Gen|Col|Hon|Rev|vs|etc|e\.g|i\.e|cf|No|Fig|Eq|al|approx|pp|p|"
    r"Inc|Ltd|Co|U\.S|U\.N)|\b[A-Z])\.$"
)
_BREAK = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9`])")
NOT_PROSE = re.compile(r"\s*(?:[#>|`$*+=~/\\<{\[(]|-{2,}|\d+[.)]\s|[-•]\s|[a-z_]+\(|\.\. )")
"""How a line begins that is no running text: headings, lists, tables, code."""
_CODE_MARKS = re.compile(r"[{};=<>|\\]|\w\(\)|::|->|__|\s{3,}|https?://")
DESCRIPTION = re.compile(r"(?:[rR]?\"\"\"|//[/!]?|/\*\*|\*|#)\s*([A-Z].{11,})$")
"""A line of a docstring or comment that begins a sentence; group 1 is without its mark."""
_NOT_TOLD = re.compile(r"copyright|licen[cs]e|all rights|coding[:=]|author", re.IGNORECASE)
SENTENCE_END = re.compile(r"[.!?](?=\s|$|\"\"\")")


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Start and end of each sentence of a paragraph, without the white space between them."""
    starts, ends = [len(text) - len(text.lstrip())], []
    for match in _BREAK.finditer(text):
        before = text[starts[-1] : match.start() + 1].rstrip("\"')] \n\t")
        if not _ABBREVIATION.search(before):
            ends.append(match.start() + len(match[0].rstrip()))
            starts.append(match.end())
    ends.append(len(text.rstrip()))
    return [(start, end) for start, end in zip(starts, ends, strict=True) if start < end]


def heading_of(paragraph: str) -> str:
    """The heading that a paragraph begins with, without its marks; "" if it begins with none."""
    first, _, rest = paragraph.strip().partition("\n")
    if match := re.match(r"#{1,6}\s+(\S.*)", first):
        return match[1].strip()
    if re.match(r"[=\-~^]{4,}$", rest.partition("\n")[0]) and len(first) < 80:
        return first.strip()
    short = 3 <= len(first) <= 60 and not rest.strip() and first[-1] not in ".:;,!?"
    return first if short and re.match(r"(?:\d+(?:\.\d+)*\s+)?[A-Z]", first) else ""


def is_clean(text: str) -> bool:
    """Whether a sentence stands well on its own: prose, ended, of a sensible length."""
    letters = sum(ch.isalpha() or ch == " " for ch in text)
    return (
        5 <= len(text.split()) <= 60
        and (text[0].isupper() or text[0] in "\"'(`")
        and bool(re.search(r"[.!?][\"')\]]*$", text))
        and letters > 0.75 * len(text)
        and not _CODE_MARKS.search(text)
    )


def is_description(line: str) -> bool:
    """Whether a line of code begins a sentence of a docstring or documentation comment."""
    match = DESCRIPTION.match(line)
    if not match or _NOT_TOLD.search(line):
        return False
    return len(match[1].split()) >= 3 and not re.search(r"[=;{}]", match[1])
