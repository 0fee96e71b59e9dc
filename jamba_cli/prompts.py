"""The prompt layouts: instructions first, document next, question last.

Everything before the question is the same for every question, so its state can be reused.
The text is cut into blocks, and each block is preceded by its own reference, because a small
model cites what stands right before the words it copies.  The embedded model is trained on
exactly these strings: change them only together with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from jamba_cli.sources.document import Document, Part

_VISIBLE = re.compile(r"\S")

BLOCK_CHARS = 600
"""A block ends at the first line end after this many characters."""

INSTRUCTIONS = {
    "quote": "Read the document. Answer with word-for-word quotes from it, "
    "each followed by its reference.",
    "prose": "Read the document and answer only from it. After each statement give the "
    "reference of the place it rests on, in the brackets used in the document. "
    'Put word-for-word quotes in "double quotes". '
    'If the document does not hold the answer, say "Not found in the document."',
}
Outline = Literal["first", "last"]
OUTLINE: dict[str, Outline] = {"quote": "first", "prose": "last"}
"""Where the tree of files stands.  It changes with every file that comes or goes, so behind the
files it costs nothing to read them again (see tests/benchmarks/incremental.py).  The embedded
model was trained with it in front, and its context holds few files anyway."""

NOT_FOUND = "Not found in the document."

SUMMARY_QUOTES = {"short": 3, "medium": 6, "long": 12}
WORDS_PER_QUOTE = 20
SUMMARY_WORDS = {"short": 100, "medium": 250, "long": 600}


@dataclass(frozen=True, slots=True)
class Block:
    """A run of whole lines of one part, with the reference shown before it."""

    part: Part
    start: int  # character offset into part.text
    end: int
    reference: str

    @property
    def text(self) -> str:
        """The block as it stands in the document."""
        return self.part.text[self.start : self.end]

    @property
    def shown(self) -> str:
        """The block as the model reads it, after its reference."""
        return f"{self.reference}\n{self.text.rstrip()}\n\n"


def blocks(document: Document) -> Iterator[Block]:
    """Cuts a document into blocks of whole lines, never across two parts."""
    with_path = not document.single_pdf
    for part in document.parts:
        for start, end in _line_runs(part.text):
            yield Block(part, start, end, part.reference(start, with_path=with_path))


def _line_runs(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    while found := _VISIBLE.search(text, start):
        # A block begins with its first line that is not blank, so that its reference is exact.
        start = max(start, text.rfind("\n", start, found.start()) + 1)
        cut = text.find("\n", start + BLOCK_CHARS)
        end = len(text) if cut < 0 else cut + 1
        yield start, end
        start = end


def document_text(document: Document, *, outline: Outline = "first") -> str:
    """The document as the model reads it: the outline, and every block after its reference."""
    return "".join(text for _, text in document_pieces(document, outline=outline))


def document_pieces(
    document: Document, *, outline: Outline = "first"
) -> Iterator[tuple[Part | None, str]]:
    """What `document_text` joins, in order: the outline with None, each block with its part."""
    shown = document.outline.rstrip() + "\n\n" if document.outline else ""
    if outline == "first" and shown:
        yield None, shown
    for block in blocks(document):
        yield block.part, block.shown
    if outline == "last" and shown:
        yield None, shown


def prefix_pieces(document: Document, *, style: str) -> Iterator[tuple[Part | None, str]]:
    """What `prefix` joins, in order; only its last white space is still there."""
    yield None, f"{INSTRUCTIONS[style]}\n\n"
    yield from document_pieces(document, outline=OUTLINE[style])


def prefix(document: Document, *, style: str) -> str:
    """All of the user message that comes before the task; `style` is "quote" or "prose".

    It ends with a visible character and the task begins with a line end, so that no token
    reaches across and the state after the prefix serves every task.
    """
    return "".join(text for _, text in prefix_pieces(document, style=style)).rstrip()


def summary_quotes(length: str) -> int:
    """How many quotes make a summary of a named length, or of a number of words."""
    return SUMMARY_QUOTES.get(length) or max(1, round(int(length) / WORDS_PER_QUOTE))


def summary_task(*, style: str, length: str = "medium", focus: str | None = None) -> str:
    """What follows the prefix for `summarize`; `length` is a name or a number of words."""
    if style == "quote":
        quotes = summary_quotes(length)
        about = f" about {focus}" if focus else ""
        return f"\n\nTask: summarize the document in {quotes} quotes{about}."
    words = SUMMARY_WORDS.get(length) or int(length)
    about = f" Focus on {focus}." if focus else ""
    return f"\n\nTask: summarize the document in about {words} words.{about}"


def question_task(question: str) -> str:
    """What follows the prefix for `ask`."""
    return f"\n\nQuestion: {question.strip()}"
