"""What can be quoted from a document: its sentences, its lines, and what its code says of itself.

The pieces are those that a quoting model is trained to give.  Running text is quoted by the
sentence, also where a page ends within it; lists, tables and code by the line; a docstring or
comment by its first sentence, without its mark.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Iterator
from itertools import pairwise

from jamba_cli.evidence import is_provable
from jamba_cli.prompts import MOST_QUOTES, NOT_FOUND, blocks, quotes_asked
from jamba_cli.sources.document import Document, Part
from runtime.quoting import AnswerForm, Quotable
from runtime.sentences import (
    DESCRIPTION,
    NOT_PROSE,
    SENTENCE_END,
    heading_of,
    is_clean,
    is_description,
    sentence_spans,
)

MOST_CHARS = 600
"""A longer piece ends at the last word before: a line of data may never end."""

_MOST_LINE_CHARS = 240  # of running text; longer ones are quoted by the sentence only
_PROSE = (None, "markdown", "rst", "text")
_BLANK = re.compile(r"\n[ \t]*\n\s*")
_MARK = re.compile(r"\s*(?:[#>*•-]+|\d+[.)])\s+(?=\S)")
_UNFINISHED = re.compile(r"[^\s.!?:;\"')\]]\s*\Z")
_HEADING = re.compile(r"(?:\d+(?:\.\d+)*[.)]?\s+)?[A-Z][^\n]*[^\n.:;,!?-]$")
_GOES_ON = re.compile(
    r"\b(?:an?|and|are|as|at|by|for|from|his|her|in|into|is|its?|of|on|or|our|that|the|their|to|was|"
    r"were|which|who|with)$"
)
"""How a line ends whose sentence goes on in the next one."""
_HEADING_WIDTH = 0.6  # of the longest line beside it, at most
_ENDED = re.compile(r"[.!?][\"')\]]*\Z")
_DOCSTRING = re.compile(r'[rR]?"""')
_FIELD = re.compile(r"\s*(?:$|[:\-*@]|>>>|Args|Returns)")
_DOCSTRING_LINES = 4

Span = tuple[int, int, bool]
"""Start and end in a text, and whether it is a sentence or description."""


def answer_form(document: Document, task: str, stands: Callable[[str], bool]) -> AnswerForm:
    """What may answer a task on a document; see `quotables` for `stands`.

    A question may be answered by any piece.  A summary is made of pieces that stand on their
    own, unless there are fewer than it asks for, and of as many as it asks for.
    """
    pieces = quotables(document, stands)
    asked = quotes_asked(task)
    if asked is None:
        return AnswerForm(pieces, MOST_QUOTES, NOT_FOUND)
    sentences = [piece for piece in pieces if piece.is_sentence]
    chosen = sentences if len(sentences) >= asked else pieces
    return AnswerForm(chosen, asked, None if chosen else NOT_FOUND, spread=True)


def quotables(document: Document, stands: Callable[[str], bool]) -> list[Quotable]:
    """Every piece, in the document's order; what is not blank or a mark is in one of them.

    `stands` says whether words stand in what was read: a sentence over a page end may not, where
    the document is made of notes.
    """
    whole, bases = _joined(document)
    starts, references = [], []
    based = {id(part): base for part, base in zip(document.parts, bases, strict=True)}
    for block in blocks(document):
        starts.append(based[id(block.part)] + block.start)
        references.append(block.reference)
    found: dict[tuple[str, str, int], Quotable] = {}
    for start, end, is_sentence in _over_pages(document, whole, bases, stands):
        text = _cut(" ".join(whole[start:end].split()))
        if not is_provable(text):
            continue
        reference = references[bisect.bisect_right(starts, start) - 1]
        piece = Quotable(text, reference, start, end, is_sentence)
        found.setdefault((text, reference, start), piece)
    return sorted(found.values(), key=lambda piece: (piece.start, piece.end))


def _joined(document: Document) -> tuple[str, list[int]]:
    """The text of all parts, and where each begins in it."""
    bases, at = [], 0
    for part in document.parts:
        bases.append(at)
        at += len(part.text) + 1
    return "\n".join(part.text for part in document.parts), bases


def _cut(text: str) -> str:
    if len(text) <= MOST_CHARS:
        return text
    end = text.rfind(" ", 0, MOST_CHARS)
    return text[: end if end > 0 else MOST_CHARS]


def _over_pages(
    document: Document, whole: str, bases: list[int], stands: Callable[[str], bool]
) -> Iterator[Span]:
    """The spans of all parts in `whole`; a sentence's halves on two pages are made one."""
    spans = [list(_spans(part)) for part in document.parts]
    for index, (part, following) in enumerate(pairwise(document.parts)):
        here, there = spans[index], spans[index + 1]
        if not (here and there and part.path == following.path and part.page is not None):
            continue
        (start, end, _), (first, last, _) = here[-1], min(there)
        step = bases[index + 1] - bases[index]
        text = whole[bases[index] + start : bases[index] + step + last]
        ends = not part.text[end:].strip() and _UNFINISHED.search(part.text[start:end])
        goes_on = not following.text[:first].strip() and following.text[first].islower()
        if following.page == part.page + 1 and ends and goes_on and stands(text):
            here[:] = [span for span in here if span[1] != end]
            here.append((start, step + last, _stands_alone(text)))
            there[:] = [span for span in there if span[0] != first]
    for base, found in zip(bases, spans, strict=True):
        for start, end, is_sentence in found:
            yield base + start, base + end, is_sentence


def _spans(part: Part) -> Iterator[Span]:
    at = 0
    for gap in [*_BLANK.finditer(part.text), None]:
        end = gap.start() if gap else len(part.text)
        find = _prose_spans if part.language in _PROSE else _code_spans
        for start, stop, is_sentence in find(part.text[at:end]):
            yield at + start, at + stop, is_sentence
        at = gap.end() if gap else end


def _lines(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each line that is not blank, without the white space around it."""
    for line in re.finditer(r"[^\s](?:[^\n]*[^\s])?", text):
        yield line.start(), line.end()


def _prose_spans(paragraph: str) -> Iterator[Span]:
    """Runs of lines by the sentence; lines that are no running text, or not wrapped, as well."""
    lines = list(_lines(paragraph))
    headed, headings = bool(heading_of(paragraph)), _headings(paragraph, lines)
    runs: list[list[tuple[int, int]]] = []
    for number, (start, end) in enumerate(lines):
        under_heading = (headed and len(runs) == 1) or number - 1 in headings
        if not runs or under_heading or number in headings or NOT_PROSE.match(paragraph, start):
            runs.append([])
        runs[-1].append((start, end))
    for run in runs:
        yield from _run_spans(paragraph, run)


def _headings(paragraph: str, lines: list[tuple[int, int]]) -> set[int]:
    """Which lines are headings with their text right below, as the pages of a PDF have them.

    Such a line begins like a sentence, after the end of one, is not ended like one, leaves much of
    its width free, and the next line begins anew.
    """
    longest = max((end - start for start, end in lines), default=0)
    found: set[int] = set()
    for number, ((start, end), (below, _)) in enumerate(pairwise(lines)):
        begins = number == 0 or number - 1 in found or _ENDED.search(paragraph, *lines[number - 1])
        short = end - start <= _HEADING_WIDTH * longest
        opens = paragraph[below].isupper() or paragraph[below].isdigit()
        words = paragraph[start:end]
        if begins and short and opens and _HEADING.match(words) and not _GOES_ON.search(words):
            found.add(number)
    return found


def _run_spans(paragraph: str, run: list[tuple[int, int]]) -> Iterator[Span]:
    start, end = run[0][0], run[-1][1]
    mark = _MARK.match(paragraph, start, end)
    is_prose = not NOT_PROSE.match(paragraph, start)
    wrapped = any(paragraph[first].islower() for first, _ in run[1:])
    if not is_prose or not wrapped:
        for first, last in run:
            if last - first <= _MOST_LINE_CHARS:
                yield first, last, False
    start = mark.end() if mark else start
    for first, last in sentence_spans(paragraph[start:end]):
        sentence = paragraph[start + first : start + last]
        yield start + first, start + last, is_prose and _stands_alone(sentence)


def _stands_alone(sentence: str) -> bool:
    return is_clean(" ".join(sentence.split()))


def _code_spans(text: str) -> Iterator[Span]:
    """Each line; and where one begins a description, its first sentence."""
    for start, end in _lines(text):
        yield start, end, False
        if is_description(text[start:end]):
            yield _description(text, start, end)


def _description(text: str, start: int, end: int) -> Span:
    """A docstring's first sentence may run over lines; a comment's lines have marks between."""
    match = DESCRIPTION.match(text[start:end])
    begin = start + (match.start(1) if match else 0)
    if _DOCSTRING.match(text, start):
        for first, last in list(_lines(text[end:]))[: _DOCSTRING_LINES - 1]:
            if SENTENCE_END.search(text, begin, end) or '"""' in text[begin:end]:
                break
            if _FIELD.match(text, end + first):
                break
            end += last
    closing = text.find('"""', begin, end)
    end = closing if closing >= 0 else end
    if found := SENTENCE_END.search(text, begin, end):
        end = found.start() + 1
    return begin, begin + len(text[begin:end].removesuffix("*/").rstrip()), True
