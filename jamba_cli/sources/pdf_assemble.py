"""From the pages' lines to a document, with a word on every page that gave no text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jamba_cli.sources.document import Document, Part, Skipped
from jamba_cli.sources.pdf_clean import Spelling, join_lines
from jamba_cli.sources.pdf_headers import EdgeRow
from jamba_cli.sources.pdf_layout import TextLine
from jamba_cli.sources.pdf_page import MAX_PAGE_CHARS
from jamba_cli.sources.pdf_ranges import name_pages
from runtime.errors import InputError

_SCAN_CHARS = 40  # what a stamp or a page number may leave on a scan
_GARBAGE = 0.2  # of a page's characters: more unreadable ones make the rest doubtful
_OCR = "make the text searchable first: `ocrmypdf in.pdf out.pdf`"

IMAGE_ONLY = "image only, no text"
_DRAWN_ONLY = "drawings or pictures only, no text"
_BLANK = "blank page"
_DAMAGED = "damaged, can't be read"
_BEYOND = "not read, too much text before it"


@dataclass(slots=True)
class PageText:
    """A page in reading order, with what is needed to judge it."""

    lines: list[TextLine] = field(default_factory=list)
    edges: list[EdgeRow] = field(default_factory=list)
    chars: int = 0
    broken: int = 0
    left_out: int = 0
    scanned: bool = False  # images cover the page
    drawn: bool = False
    fallback: bool = False  # read by pypdf
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What the file says about itself."""

    metadata: dict[str, str]
    outline: str
    labels: Mapping[int, str]
    truncated: bool


def assemble(
    texts: Mapping[int, PageText], wanted: Sequence[int], facts: Facts, display: str
) -> Document:
    """The document of the pages `texts`; those of `wanted` that are missing count as skipped.

    Raises InputError, which names the pages, if none of them holds text.
    """
    spelling = Spelling(line.text for text in texts.values() for line in text.lines)
    parts: list[Part] = []
    lost: dict[str, list[int]] = {}
    for number, page in texts.items():
        text = join_lines([line.text for line in page.lines], spelling).strip()
        reason = _why_empty(page, text)
        if reason is not None:
            lost.setdefault(reason, []).append(number)
        if reason == IMAGE_ONLY:
            text = f"[page {number}: {IMAGE_ONLY}]\n{text}".strip()
        if text:
            parts.append(Part(display, text, page=number, page_label=_label(facts, number)))
    lost_pages = sum(len(numbers) for numbers in lost.values())
    if lost_pages == len(texts):
        raise _nothing_read(lost, display)
    if beyond := [number for number in wanted if number not in texts]:
        lost[_BEYOND] = beyond
    return Document(
        parts=tuple(parts),
        skipped=tuple(Skipped(f"{display} {name_pages(lost[why])}", why) for why in lost),
        warnings=tuple(_warnings(texts, facts, display)),
        outline=facts.outline,
        metadata=facts.metadata,
    )


def _why_empty(page: PageText, text: str) -> str | None:
    if page.scanned and len(text) <= _SCAN_CHARS:
        return IMAGE_ONLY
    if text:
        return None
    if page.damaged:
        return _DAMAGED
    return _DRAWN_ONLY if page.drawn else _BLANK


def _label(facts: Facts, number: int) -> str | None:
    label = facts.labels.get(number)
    return None if label == str(number) else label


def _nothing_read(lost: Mapping[str, Sequence[int]], display: str) -> InputError:
    """The error for a document without text, by what most of its pages are."""
    why = max(lost, key=lambda reason: len(lost[reason]))
    if IMAGE_ONLY in lost:
        why = IMAGE_ONLY
    pages = name_pages(lost[why])
    if why == IMAGE_ONLY:
        return InputError(f"{display}: scanned, {pages}: {IMAGE_ONLY}", hint=_OCR)
    if why == _DRAWN_ONLY:
        return InputError(f"{display}: no text to read, {pages}: {_DRAWN_ONLY}", hint=_OCR)
    if why == _DAMAGED:
        hint = "download it again, or try `qpdf in.pdf out.pdf` or `mutool clean in.pdf out.pdf`"
        return InputError(f"{display}: {pages}: {_DAMAGED}", hint=hint)
    return InputError(f"{display}: no text to read, {pages}: blank")


def _warnings(texts: Mapping[int, PageText], facts: Facts, display: str) -> list[str]:
    warnings: list[str] = []
    if facts.truncated:
        warnings.append(f"{display}: the end of the file is missing, so pages may be missing")
    if pages := [number for number, page in texts.items() if page.fallback]:
        warnings.append(
            f"{display} {name_pages(pages)}: damaged, read by pypdf; the order may be wrong"
        )
    if pages := [number for number, page in texts.items() if page.left_out]:
        count = sum(page.left_out for page in texts.values())
        warnings.append(
            f"{display} {name_pages(pages)}: more than {MAX_PAGE_CHARS:,} characters on a page, "
            f"{count:,} left out"
        )
    if pages := [number for number, page in texts.items() if page.broken]:
        count = sum(page.broken for page in texts.values())
        warnings.append(
            f"{display} {name_pages(pages)}: {count:,} characters have no meaning in the file "
            "(shown as \ufffd)"
        )
    garbage = [n for n, page in texts.items() if page.broken > _GARBAGE * max(page.chars, 1)]
    if garbage:
        warnings.append(
            f"{display} {name_pages(garbage)}: mostly unreadable; "
            "`ocrmypdf --force-ocr in.pdf out.pdf` reads the page images instead"
        )
    return warnings
