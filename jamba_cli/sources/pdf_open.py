"""Open a PDF with pdfium, or say in one line why it can't be opened."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from runtime.errors import InputError

HEADER_BYTES = 1024  # pdfium, like most readers, accepts junk of this length before `%PDF-`
_REPAIR = "download it again, or try `qpdf in.pdf out.pdf` or `mutool clean in.pdf out.pdf`"
_PASSWORD = "give it with --password-file FILE or in JAMBA_PDF_PASSWORD"
_KINDS: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a ZIP or office file"),
    (b"\xd0\xcf\x11\xe0", "an old office file"),
    (b"%!PS", "a PostScript file"),
    (b"{\\rtf", "an RTF file"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"\x1f\x8b", "a gzip file"),
    (b"AT&TFORM", "a DjVu file"),
)


@dataclass(frozen=True, slots=True)
class OpenPdf:
    """A document that pdfium could open."""

    document: pdfium.PdfDocument
    truncated: bool  # the end-of-file marker is missing, so pages may be as well


@contextmanager
def open_pdf(
    source: Path | bytes, display: str, password: Callable[[str], str | None]
) -> Iterator[OpenPdf]:
    """The open document; every handle is closed at the end.

    `password` is asked only if the file needs one, and a second time if the first was wrong.
    Raises InputError if the file is missing, empty, no PDF, damaged, or stays locked.
    """
    head, tail = _ends(source, display)
    _check_header(head, display)
    truncated = b"%%EOF" not in tail
    with _unlocked(source, display, password, truncated=truncated) as document:
        yield OpenPdf(document, truncated)


def _ends(source: Path | bytes, display: str) -> tuple[bytes, bytes]:
    if isinstance(source, bytes):
        return source[:HEADER_BYTES], source[-HEADER_BYTES:]
    try:
        with source.open("rb") as file:
            head = file.read(HEADER_BYTES)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - HEADER_BYTES))
            return head, file.read(HEADER_BYTES)
    except OSError as error:
        raise InputError(f"{display}: {(error.strerror or 'unreadable').lower()}") from error


def _check_header(head: bytes, display: str) -> None:
    if b"%PDF-" in head:
        return
    if not head:
        raise InputError(f"{display}: the file is empty", hint="was the download interrupted?")
    kind = _looks_like(head)
    hint = None
    if kind == "an HTML page":
        hint = "the address may want a log-in; open it in a browser and save the PDF itself"
    raise InputError(f"{display}: not a PDF: it looks like {kind}", hint=hint)


def _looks_like(head: bytes) -> str:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    lower = start[:256].lower()
    if lower.startswith((b"<!doctype html", b"<html")) or b"<html" in lower or b"<head" in lower:
        return "an HTML page"
    if lower.startswith((b"<?xml", b"<svg")):
        return "an XML file"
    for magic, kind in _KINDS:
        if start.startswith(magic):
            return kind
    if not head.strip(b"\x00"):
        return "a file of zero bytes only"
    # The 1 KiB may end inside a character, so text means: nothing that text never holds.
    is_text = not any(byte < 9 or 13 < byte < 27 for byte in head)
    return "a text file" if is_text else "binary data of another kind"


def _unlocked(
    source: Path | bytes, display: str, password: Callable[[str], str | None], *, truncated: bool
) -> pdfium.PdfDocument:
    document = _try_open(source, None, display, truncated=truncated)
    tried: str | None = None
    for _ in range(2):
        if document is not None:
            return document
        given = password(display)
        if given is None or given == tried:
            break
        tried = given
        document = _try_open(source, given, display, truncated=truncated)
    if document is not None:
        return document
    what = "needs a password" if tried is None else "the password is wrong"
    raise InputError(f"{display}: encrypted, {what}", hint=_PASSWORD)


def _try_open(
    source: Path | bytes, password: str | None, display: str, *, truncated: bool
) -> pdfium.PdfDocument | None:
    """The document, or None if another password is needed. `source` must outlive it."""
    try:
        secret = None if password is None else password.encode()
    except UnicodeEncodeError:
        return None  # a lone surrogate: no PDF has such a password
    # Not through PdfDocument's own opening: a document without pages has no error code there.
    if isinstance(source, Path):
        handle = pdfium_c.FPDF_LoadDocument(os.fsencode(source), secret)
    else:
        handle = pdfium_c.FPDF_LoadMemDocument64(source, len(source), secret)
    if handle:
        if pdfium_c.FPDF_GetPageCount(handle) > 0:
            return pdfium.PdfDocument(handle)
        pdfium_c.FPDF_CloseDocument(handle)
        raise InputError(f"{display}: the PDF has no pages")
    code = pdfium_c.FPDF_GetLastError()
    if code == pdfium_c.FPDF_ERR_PASSWORD:
        return None
    raise InputError(f"{display}: {_reason(code, truncated)}", hint=_REPAIR)


def _reason(code: int, truncated: bool) -> str:
    if code == pdfium_c.FPDF_ERR_SECURITY:
        return "encrypted in a way that is not supported"
    if truncated:
        return "damaged or incomplete PDF: its end is missing"
    return "damaged PDF: its structure can't be read"
