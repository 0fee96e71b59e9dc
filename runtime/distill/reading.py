"""What can be quoted from a document: its sentences and lines, each with its block's reference."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property

from runtime.distill.layout import BlockLike, DocumentLike, Layout
from runtime.sentences import NOT_PROSE, heading_of, is_clean, sentence_spans

_WORD = re.compile(r"[A-Za-z][A-Za-z'-]+|\d[\d,.]*\d|\d")
_STOP_WORDS = (
    "a an and are as at be been but by can could did do does for from had has have he her his "
    "how i if in into is it its may more most must no not of on one or other our shall she "
    "should so some such than that the their them then there these they this those to upon was "
    "we were what when which while who will with would you your all any also been both each only "
    "own same very just about after before between over under through during because where why "
    "use used using like many much now out up down who whom whose here every between within "
    "without against among etc"
)
STOP_WORDS = frozenset(_STOP_WORDS.split())


def words(text: str) -> list[str]:
    """Lower-case words and numbers."""
    return [word.lower() for word in _WORD.findall(text)]


def content_words(text: str) -> list[str]:
    """Words that are not stop words."""
    return [word for word in words(text) if word not in STOP_WORDS and len(word) > 1]


@dataclass(frozen=True, slots=True)
class Quote:
    """Verbatim words (white space normalized) and the reference of the block they stand in."""

    text: str
    reference: str

    def bullet(self) -> str:
        """The line of an answer."""
        return f"- {self.text} {self.reference}"


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of prose within one block."""

    quote: Quote
    place: int  # order in the document
    opens: bool  # first of its paragraph
    heading: str  # the last heading before it, "" if there is none


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file, stripped."""

    quote: Quote
    indent: int
    path: str
    language: str | None
    in_part: int  # index of the part
    number: int  # index among all lines of the document


@dataclass
class Reading:
    """A document with all that can be quoted from it, computed when first asked for."""

    layout: Layout
    document: DocumentLike
    blocks: list[BlockLike] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.blocks = list(self.layout.blocks(self.document))

    @cached_property
    def flat(self) -> str:
        """The whole text, white space normalized and in lower case."""
        return " ".join(" ".join(block.text.split()) for block in self.blocks).lower()

    @cached_property
    def sentences(self) -> list[Sentence]:
        """Complete sentences of running text; none that crosses a block's edge."""
        found: list[Sentence] = []
        heading = ""
        for block in self.blocks:
            if block.part.language not in (None, "markdown", "rst", "text"):
                heading = ""
            paragraphs = re.split(r"\n\s*\n", block.text)
            for index, paragraph in enumerate(paragraphs):
                if title := heading_of(paragraph):
                    heading = title
                    paragraph = paragraph.strip().partition("\n")[2]
                whole = index > 0 or _starts_paragraph(block)
                complete = index < len(paragraphs) - 1 or _ends_paragraph(block)
                for place, text in enumerate(split_sentences(paragraph, whole, complete)):
                    quote = Quote(text, block.reference)
                    found.append(Sentence(quote, len(found), place == 0 and whole, heading))
        return found

    @cached_property
    def lines(self) -> list[Line]:
        """All lines that are not blank."""
        found: list[Line] = []
        parts = {id(part): index for index, part in enumerate(self.document.parts)}
        for block in self.blocks:
            for raw in block.text.split("\n"):
                text = raw.strip()
                if not text:
                    continue
                quote = Quote(" ".join(text.split()), block.reference)
                indent = len(raw) - len(raw.lstrip())
                part = block.part
                place = parts[id(part)], len(found)
                found.append(Line(quote, indent, part.path, part.language, *place))
        return found

    @cached_property
    def vocabulary(self) -> Counter[str]:
        """How often each word occurs."""
        return Counter(words(self.flat))

    def occurrences(self, phrase: str) -> int:
        """How often a phrase occurs, as whole words, whatever the case."""
        pattern = rf"(?<![\w-]){re.escape(phrase.lower())}(?![\w-])"
        return len(re.findall(pattern, self.flat))

    def sentences_with(self, phrase: str) -> list[Sentence]:
        """The sentences that hold a phrase as whole words."""
        pattern = re.compile(rf"(?<![\w-]){re.escape(phrase)}(?![\w-])", re.IGNORECASE)
        return [item for item in self.sentences if pattern.search(item.quote.text)]


def _starts_paragraph(block: BlockLike) -> bool:
    return block.start == 0 or block.part.text[: block.start].endswith("\n\n")


def _ends_paragraph(block: BlockLike) -> bool:
    after = block.part.text[block.end :]
    return not after or after.startswith("\n") or block.text.endswith("\n\n")


def split_sentences(paragraph: str, whole: bool = True, complete: bool = True) -> list[str]:
    """The clean sentences of a paragraph; without its torn first or last one if it is cut."""
    lines = [line for line in paragraph.split("\n") if line.strip()]
    if not lines or any(NOT_PROSE.match(line) for line in lines):
        return []
    text = " ".join(" ".join(lines).split())
    pieces = [text[start:end] for start, end in sentence_spans(text)]
    if not whole:
        pieces = pieces[1:]
    if not complete and pieces:
        pieces = pieces[:-1]
    return [piece for piece in pieces if is_clean(piece)]
