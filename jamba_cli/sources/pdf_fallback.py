"""Text of single pages by pypdf, for those that pdfium can't read."""

from __future__ import annotations

import logging
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from pypdf import PageObject, PdfReader
from pypdf.errors import PyPdfError
from pypdf.generic import ArrayObject, PdfObject, StreamObject

from jamba_cli.sources.pdf_clean import clean_text
from jamba_cli.sources.pdf_page import MAX_PAGE_CHARS

MAX_PAGES = 20  # pypdf is fifty times slower than pdfium
_MAX_FILE_BYTES = 64 << 20
_MAX_CONTENT_BYTES = 1 << 20
_EMPTY_PACKED = 32  # bytes; nothing at all takes 8 when packed by zlib
_SHOWS_TEXT = re.compile(rb"[)>\]]\s*(?:TJ|Tj|'|\")")

# pypdf meets damaged files with whatever its code runs into; each of these was seen with files
# of flipped bits or follows from parsing untrusted numbers, names and streams.
FAILURES = (
    PyPdfError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


class FallbackPage(NamedTuple):
    """What pypdf makes of a page: its cleaned text, or that its content is damaged."""

    text: str
    damaged: bool = False


class Fallback:
    """A second reader for the same file, opened when it is first needed."""

    def __init__(self, source: Path | bytes) -> None:
        self._source = source
        self._reader: PdfReader | None = None
        self._left = MAX_PAGES

    def read(self, number: int) -> FallbackPage | None:
        """The page, counted from 1; None if pypdf has nothing to say about it.

        At most `MAX_PAGES` pages are tried, none if the file is encrypted.
        """
        if self._left == 0:
            return None
        self._left -= 1
        with _quiet():
            try:
                if self._reader is None:
                    self._reader = self._open()
                page = self._reader.pages[number - 1]
            except FAILURES:
                if self._reader is None:
                    self._left = 0
                return None
            try:
                return _read(page)
            except FAILURES:
                return FallbackPage("", damaged=True)

    def _open(self) -> PdfReader:
        data = self._source
        if isinstance(data, Path):
            if data.stat().st_size > _MAX_FILE_BYTES:
                raise ValueError("too large for pypdf")
            data = data.read_bytes()
        if len(data) > _MAX_FILE_BYTES:
            raise ValueError("too large for pypdf")
        reader = PdfReader(BytesIO(data), strict=False)
        if reader.is_encrypted:
            raise ValueError("pypdf needs another package to decrypt")
        return reader


def _read(page: PageObject) -> FallbackPage:
    content = page.get_contents()
    if content is None:
        return FallbackPage("")
    data = content.get_data()
    if len(data) > _MAX_CONTENT_BYTES:
        return FallbackPage("", damaged=True)
    text = page.extract_text()[:MAX_PAGE_CHARS].replace("\r\n", "\n").replace("\r", "\n")
    # Text is drawn and yet none comes out, or compressed bytes unpack to nothing.
    lost = not text.strip() and (_SHOWS_TEXT.search(data) is not None or _unpacks_badly(page, data))
    return FallbackPage(clean_text(text), damaged=lost)


def _unpacks_badly(page: PageObject, data: bytes) -> bool:
    contents = page["/Contents"].get_object()
    streams = contents if isinstance(contents, ArrayObject) else [contents]
    # pypdf keeps neither /Length nor another public word on the size before unpacking.
    packed = sum(len(item._data) for item in map(_resolved, streams) if "/Filter" in item)
    return not data.strip() and packed > _EMPTY_PACKED


def _resolved(item: PdfObject) -> StreamObject:
    stream = item.get_object()
    if not isinstance(stream, StreamObject):
        raise TypeError("the content of a page is a stream")
    return stream


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep pypdf's remarks on damaged files off the terminal: we say what was lost ourselves."""
    logger = logging.getLogger("pypdf")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
