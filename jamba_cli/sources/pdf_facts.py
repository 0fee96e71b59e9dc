"""What a PDF says about itself: title and author, table of contents, printed page numbers."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from typing import Any

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from jamba_cli.sources.pdf_clean import one_line

MAX_ENTRIES = 200
_MAX_SEEN = 5_000
_MAX_DEPTH = 4
_KEYS = {"Title": "title", "Author": "author", "Subject": "subject", "Keywords": "keywords"}


def read_metadata(document: pdfium.PdfDocument) -> dict[str, str]:
    """Title, author, subject and keywords, those that are given, each on one line."""
    found: dict[str, str] = {}
    for key, name in _KEYS.items():
        ask = partial(pdfium_c.FPDF_GetMetaText, document.raw, key.encode())
        if text := one_line(_utf16(ask)):
            found[name] = text
    return found


def _utf16(ask: Callable[[Any, int], int]) -> str:
    """The answer of a function of pdfium that fills a buffer; its size when there is no buffer.

    pypdfium2's own methods raise UnicodeDecodeError where a damaged file has half a character.
    """
    size = ask(None, 0)
    buffer = ctypes.create_string_buffer(size)
    ask(buffer, size)
    return buffer.raw[: max(size - 2, 0)].decode("utf-16-le", "replace")


def read_outline(document: pdfium.PdfDocument) -> str:
    """The table of contents, a line an entry: `  2.1 Methods (p. 4)`; "" if there is none."""
    logger = logging.getLogger("pypdfium2")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns of circular outlines, which do no harm
    try:
        entries = list(islice(document.get_toc(max_depth=_MAX_DEPTH), _MAX_SEEN))
    finally:
        logger.setLevel(level)
    lines: list[str] = []
    for entry in entries[:MAX_ENTRIES]:
        title = one_line(_utf16(partial(pdfium_c.FPDFBookmark_GetTitle, entry.raw)), 120)
        target = entry.get_dest()
        page = target.get_index() if target else None
        place = "" if page is None or page < 0 else f" (p. {page + 1})"
        if title:
            lines.append("  " * entry.level + title + place)
    if len(entries) > MAX_ENTRIES:
        lines.append(f"… {len(entries) - MAX_ENTRIES:,} more entries")
    return "\n".join(lines)


def read_labels(document: pdfium.PdfDocument, pages: Iterable[int]) -> dict[int, str]:
    """The printed number of each page that has one, by physical number from 1."""
    labels: dict[int, str] = {}
    for page in pages:
        ask = partial(pdfium_c.FPDF_GetPageLabel, document.raw, page - 1)
        if label := one_line(_utf16(ask), 20):
            labels[page] = label
    return labels
