"""Read a PDF into parts, one a page, with everything that was lost on the way named."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pypdfium2 as pdfium

from jamba_cli.sources.document import Document
from jamba_cli.sources.pdf_assemble import Facts, PageText, assemble
from jamba_cli.sources.pdf_facts import read_labels, read_metadata, read_outline
from jamba_cli.sources.pdf_headers import edge_rows, find_running
from jamba_cli.sources.pdf_layout import TextLine, order_lines
from jamba_cli.sources.pdf_open import open_pdf
from jamba_cli.sources.pdf_page import read_page
from jamba_cli.sources.pdf_ranges import parse_pages
from runtime.errors import InputError

if TYPE_CHECKING:
    from jamba_cli.sources.pdf_fallback import Fallback

MAX_PAGES = 20_000
MAX_CHARS = 20_000_000  # some 5 million tokens, 20 times the longest context
_SCAN_SHARE = 0.8  # of the page, covered by images
_WITNESSES = 8  # pages that are looked at to tell running headers

# pdfium keeps global state and must not run in two threads at once.
_PDFIUM = threading.Lock()


def no_password(display: str) -> str | None:
    """The answer of a caller that has no password to give."""
    return None


@dataclass(frozen=True, slots=True)
class PdfOptions:
    """How to read a PDF."""

    pages: str | None = None  # "3-10,12,20-": 1-based physical pages
    order: Literal["auto", "stream", "columns"] = "auto"
    keep_headers: bool = False
    # Called with the display path only when a password is needed; None means there is none.
    password: Callable[[str], str | None] = no_password


def read_pdf(
    source: Path | bytes,
    *,
    display: str,
    options: PdfOptions,
    on_page: Callable[[int, int], None] | None = None,
) -> Document:
    """The pages that `options` selects; `on_page` gets the number done and their total.

    Raises InputError if the file can't be opened or no page of it holds text, UsageError for a
    page range that is none.
    """
    with _PDFIUM, open_pdf(source, display, options.password) as opened:
        document = opened.document
        wanted = _wanted(options.pages, len(document), display)
        texts = _read_pages(document, wanted, _lazy_fallback(source), options, on_page)
        labels = read_labels(document, wanted)
        if not options.keep_headers:
            _remove_running(document, texts, labels)
        facts = Facts(read_metadata(document), read_outline(document), labels, opened.truncated)
    return assemble(texts, wanted, facts, display)


def _lazy_fallback(source: Path | bytes) -> Callable[[], Fallback]:
    """The second reader, imported and made only when a page needs it, which is rare."""

    @cache
    def fallback() -> Fallback:
        from jamba_cli.sources.pdf_fallback import Fallback

        return Fallback(source)

    return fallback


def _wanted(pages: str | None, count: int, display: str) -> list[int]:
    # A false page count in the file must not cost a list of that length.
    all_of_many = pages is None and count > MAX_PAGES
    wanted = range(count) if all_of_many else parse_pages(pages, count, display)
    if len(wanted) > MAX_PAGES:
        raise InputError(
            f"{display}: {len(wanted):,} pages; at most {MAX_PAGES:,} are read at once",
            hint="choose some with --pages, e.g. --pages 1-500",
        )
    return list(wanted)


def _read_pages(
    document: pdfium.PdfDocument,
    wanted: list[int],
    fallback: Callable[[], Fallback],
    options: PdfOptions,
    on_page: Callable[[int, int], None] | None,
) -> dict[int, PageText]:
    texts: dict[int, PageText] = {}
    chars = 0
    for done, number in enumerate(wanted, 1):
        text = _read_one(document, number, fallback, options)
        texts[number] = text
        chars += text.chars
        if on_page is not None:
            on_page(done, len(wanted))
        if chars > MAX_CHARS:
            break
    return texts


def _read_one(
    document: pdfium.PdfDocument, number: int, fallback: Callable[[], Fallback], options: PdfOptions
) -> PageText:
    try:
        page = read_page(document, number - 1)
    except pdfium.PdfiumError:
        return _by_fallback(fallback, number) or PageText(damaged=True)
    if page.chars == 0 and not page.drawn:
        # Really blank, or content that pdfium gave up on without a word.
        return _by_fallback(fallback, number) or PageText()
    return PageText(
        lines=order_lines(page.lines, options.order),
        edges=edge_rows(page.lines, page.height),
        chars=page.chars,
        broken=page.broken,
        left_out=page.left_out,
        scanned=page.picture >= _SCAN_SHARE,
        drawn=page.drawn,
    )


def _by_fallback(fallback: Callable[[], Fallback], number: int) -> PageText | None:
    page = fallback().read(number)
    if page is None:
        return None
    lines = [TextLine(line, -1) for line in page.text.split("\n")] if page.text.strip() else []
    return PageText(lines=lines, chars=len(page.text), fallback=bool(lines), damaged=page.damaged)


def _remove_running(
    document: pdfium.PdfDocument,
    texts: dict[int, PageText],
    labels: dict[int, str],
) -> None:
    """Take running headers and footers out of `texts`, in place."""
    edges = {number: text.edges for number, text in texts.items() if text.chars}
    for number in _witnesses(texts, len(document)):
        try:
            page = read_page(document, number - 1)
        except pdfium.PdfiumError:
            continue
        if page.chars:
            edges[number] = edge_rows(page.lines, page.height)
    running = find_running(edges, labels)
    for number, text in texts.items():
        if dropped := running.get(number):
            text.lines = [line for line in text.lines if line.source not in dropped]


def _witnesses(texts: dict[int, PageText], count: int) -> list[int]:
    """Other pages near the selected ones, so that `--pages 7` has the same headers to know."""
    missing = _WITNESSES - len(texts)
    if missing <= 0 or not texts:
        return []
    first, last = min(texts), max(texts)
    others = (number for number in range(max(1, first - missing), min(count, last + missing) + 1))
    near = sorted(
        (number for number in others if number not in texts),
        key=lambda number: max(first - number, number - last, 0),
    )
    return near[:missing]
