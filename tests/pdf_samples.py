"""Small PDFs for tests, written object by object so that each shows exactly one thing."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

from pypdf import PdfReader, PdfWriter

WIDTH, HEIGHT = 612.0, 792.0
LEFT_X, RIGHT_X = 60.0, 320.0

WORDS = ("amber", "basin", "cedar", "delta", "ember", "flint", "grove", "heath", "inlet", "jetty")
WORDS += ("knoll", "ledge", "marsh", "north", "orchard", "pasture", "quarry", "ridge", "stream")


@dataclass(frozen=True)
class Page:
    """A page's content stream and what stands around it."""

    content: bytes
    rotate: int = 0
    width: float = WIDTH
    height: float = HEIGHT


def escaped(text: str) -> bytes:
    raw = text.encode("cp1252")
    return raw.replace(b"\\", rb"\\").replace(b"(", rb"\(").replace(b")", rb"\)")


def text_at(x: float, y: float, text: str, *, size: float = 10, font: str = "F1") -> bytes:
    """Text whose baseline starts `y` points below the page's top."""
    return b"BT /%s %g Tf %g %g Td (%s) Tj ET\n" % (
        font.encode(),
        size,
        x,
        HEIGHT - y,
        escaped(text),
    )


def turned_text(x: float, y: float, text: str, matrix: str, *, size: float = 10) -> bytes:
    """Text under a matrix such as "0 1 -1 0", with x and y in the PDF's own coordinates."""
    return b"BT /F1 %g Tf %s %g %g Tm (%s) Tj ET\n" % (size, matrix.encode(), x, y, escaped(text))


def image(share: float) -> bytes:
    """An image that covers this share of the page."""
    return b"q %g 0 0 %g 0 0 cm /Im Do Q\n" % (WIDTH, HEIGHT * share)


def lines_at(x: float, y: float, lines: Sequence[str], *, step: float = 14) -> bytes:
    return b"".join(text_at(x, y + step * row, line) for row, line in enumerate(lines))


def prose(seed: int, count: int, words: int = 7) -> list[str]:
    """Lines of a fixed number of words that never repeat within a page."""
    return [
        " ".join(WORDS[(seed + 7 * line + 5 * word) % len(WORDS)] for word in range(words - 1))
        + f" s{seed}n{line}"
        for line in range(count)
    ]


def write_objects(objects: Mapping[int, bytes], *, trailer: bytes = b"/Root 1 0 R") -> bytes:
    """A PDF file of numbered objects with a valid cross-reference table."""
    out = BytesIO()
    out.write(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")
    offsets: dict[int, int] = {}
    for number, body in objects.items():
        offsets[number] = out.tell()
        out.write(b"%d 0 obj\n%s\nendobj\n" % (number, body))
    start, size = out.tell(), max(objects) + 1
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % size)
    for number in range(1, size):
        if number in offsets:
            out.write(b"%010d 00000 n \n" % offsets[number])
        else:
            out.write(b"0000000000 65535 f \n")
    out.write(b"trailer\n<< /Size %d %s >>\nstartxref\n%d\n%%%%EOF\n" % (size, trailer, start))
    return out.getvalue()


def stream(data: bytes, extra: bytes = b"", *, compress: bool = False) -> bytes:
    if compress:
        data, extra = zlib.compress(data), extra + b" /Filter /FlateDecode"
    return b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(data), extra, data)


def to_unicode(mapping: Mapping[int, str]) -> bytes:
    """A ToUnicode map from character codes to UTF-16."""
    rows = b"".join(
        b"<%02X> <%s>\n" % (code, text.encode("utf-16-be", "surrogatepass").hex().upper().encode())
        for code, text in mapping.items()
    )
    return (
        b"/CIDInit /ProcSet findresource begin 12 dict begin begincmap\n"
        b"/CMapName /X def /CMapType 2 def\n"
        b"1 begincodespacerange <00> <FF> endcodespacerange\n"
        b"%d beginbfchar\n%sendbfchar\nendcmap end end" % (len(mapping), rows)
    )


def write_pdf(
    pages: Sequence[Page | bytes],
    *,
    info: Mapping[str, str] | None = None,
    catalog: bytes = b"",
    extra: Mapping[int, bytes] | None = None,
    unicode_map: Mapping[int, str] | None = None,
    compress: bool = False,
    count: int | None = None,
) -> bytes:
    """A PDF with Helvetica as F1, the same with `unicode_map` as F2, and a grey image as Im.

    Objects 1-9 are fixed; page n (from 0) is object 10 + 2n and its content the one after.
    `extra` adds objects, `catalog` entries of the catalog, `count` lies about the pages.
    """
    pages = [page if isinstance(page, Page) else Page(page) for page in pages]
    kids = b" ".join(b"%d 0 R" % (10 + 2 * index) for index in range(len(pages)))
    font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding %s>>"
    about = b" ".join(
        b"/%s <FEFF%s>" % (key.encode(), value.encode("utf-16-be").hex().encode())
        for key, value in (info or {}).items()
    )
    objects = {
        1: b"<< /Type /Catalog /Pages 2 0 R %s >>" % catalog,
        2: b"<< /Type /Pages /Kids [%s] /Count %d >>"
        % (kids, len(pages) if count is None else count),
        3: font % b"",
        4: font % b"/ToUnicode 5 0 R ",
        5: stream(to_unicode(unicode_map or {0x41: "A"})),
        6: stream(
            b"\x80",
            b"/Type /XObject /Subtype /Image /Width 1 /Height 1 "
            b"/ColorSpace /DeviceGray /BitsPerComponent 8",
        ),
        7: b"<< /Font << /F1 3 0 R /F2 4 0 R >> /XObject << /Im 6 0 R >> >>",
        8: b"<< %s >>" % about,
    }
    for index, page in enumerate(pages):
        objects[10 + 2 * index] = (
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %g %g] /Rotate %d /Resources 7 0 R "
            b"/Contents %d 0 R >>" % (page.width, page.height, page.rotate, 11 + 2 * index)
        )
        objects[11 + 2 * index] = stream(page.content, compress=compress)
    objects.update(extra or {})
    return write_objects(objects, trailer=b"/Root 1 0 R /Info 8 0 R")


def two_columns(*, row_wise: bool, rows: int = 30, title: str = "") -> tuple[bytes, list[str]]:
    """A page of two columns and the lines in the order in which to read them."""
    left, right = prose(1, rows), prose(2, rows)
    if row_wise:
        content = b"".join(
            text_at(LEFT_X, 120 + 14 * row, left[row])
            + text_at(RIGHT_X, 120 + 14 * row, right[row])
            for row in range(rows)
        )
    else:
        content = lines_at(LEFT_X, 120, left) + lines_at(RIGHT_X, 120, right)
    if title:
        content = text_at(150, 90, title, size=16) + content
    return write_pdf([content]), [*([title] if title else []), *left, *right]


def running_pages(count: int, *, two_sided: bool = False) -> list[bytes]:
    """Pages of six lines between a running header and a footer with the page number."""
    pages = []
    for number in range(1, count + 1):
        header = "The Book of Stones" if number % 2 or not two_sided else "A. Mason"
        pages.append(
            text_at(200, 40, header)
            + lines_at(60, 130, prose(number, 6))
            + text_at(290, 760, f"Page {number} of {count}")
        )
    return pages


def locked(data: bytes, *, user: str, owner: str = "owner") -> bytes:
    """The PDF encrypted with RC4, which needs no other package; an empty `user` locks nothing."""
    writer = PdfWriter(clone_from=PdfReader(BytesIO(data)))
    writer.encrypt(user_password=user, owner_password=owner, algorithm="RC4-128")
    out = BytesIO()
    writer.write(out)
    return out.getvalue()
