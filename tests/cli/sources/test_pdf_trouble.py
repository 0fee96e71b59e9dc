"""PDFs that can't be read, or not all of them: one clear line each."""

from __future__ import annotations

import time

import pypdfium2
import pytest

from jamba_cli.sources import pdf, pdf_page
from jamba_cli.sources.document import Document, Part, Skipped
from jamba_cli.sources.pdf import PdfOptions, read_pdf
from runtime.errors import InputError
from tests.pdf_samples import (
    image,
    lines_at,
    locked,
    prose,
    running_pages,
    stream,
    text_at,
    write_objects,
    write_pdf,
)

GOOD = write_pdf([text_at(72, 72, "A page with some text on it.")])


def read(source, **options) -> Document:
    return read_pdf(source, display="a.pdf", options=PdfOptions(**options))


def failure(source, **options) -> InputError:
    with pytest.raises(InputError) as caught:
        read(source, **options)
    assert caught.value.exit_code == 3
    assert "\n" not in caught.value.message
    assert caught.value.message.startswith("a.pdf: ")
    return caught.value


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html><html><body>Log in</body></html>", "it looks like an HTML page"),
        (b"\n\n  <HTML><head>", "it looks like an HTML page"),
        (b"PK\x03\x04rest", "it looks like a ZIP or office file"),
        (b"\x89PNG\r\n\x1a\n", "it looks like a PNG image"),
        (b"%!PS-Adobe-3.0", "it looks like a PostScript file"),
        (b"Just a text.\n", "it looks like a text file"),
        (bytes(4096), "it looks like a file of zero bytes only"),
        (bytes(range(1, 200)), "it looks like binary data of another kind"),
        (b"x" * 1030 + GOOD, "it looks like a text file"),
    ],
)
def test_what_is_no_pdf_is_named(data, what):
    assert failure(data).message.endswith(what)


def test_an_html_page_comes_with_the_likely_reason():
    assert "log-in" in (failure(b"<html>").hint or "")


def test_junk_before_the_header_is_skipped():
    assert read(b"\x00junk\r\n" * 30 + GOOD).parts == read(GOOD).parts


def test_a_file_is_read_like_its_bytes(tmp_path):
    for name in ("plain.pdf", "ümlaut ☃.pdf", b"latin\xe9.pdf".decode("utf-8", "surrogateescape")):
        path = tmp_path / name
        path.write_bytes(GOOD)
        assert read(path) == read(GOOD)


def test_missing_files_and_directories(tmp_path):
    assert failure(tmp_path / "none.pdf").message == "a.pdf: no such file or directory"
    assert failure(tmp_path).message == "a.pdf: is a directory"


def test_a_truncated_file():
    data = write_pdf(running_pages(20))
    error = failure(data[: len(data) * 8 // 10])
    assert error.message == "a.pdf: damaged or incomplete PDF: its end is missing"
    assert "qpdf" in (error.hint or "")


def test_a_file_cut_within_its_last_line_is_read_with_a_warning():
    document = read(GOOD[:-7])
    assert document.parts == read(GOOD).parts
    assert document.warnings == ("a.pdf: the end of the file is missing, so pages may be missing",)


def test_nonsense_behind_the_header():
    data = b"%PDF-1.7\n" + b"nonsense " * 300 + b"\n%%EOF\n"
    assert failure(data).message == "a.pdf: damaged PDF: its structure can't be read"


def test_no_pages():
    assert failure(write_pdf([])).message == "a.pdf: the PDF has no pages"


def test_scanned_pages_are_refused_by_name_with_the_remedy():
    error = failure(write_pdf([image(1.0), image(0.9), image(1.0)]))
    assert error.message == "a.pdf: scanned, pp. 1-3: image only, no text"
    assert "ocrmypdf in.pdf out.pdf" in (error.hint or "")


def test_a_stamp_on_every_scan_does_not_make_it_text():
    pages = [image(1.0) + text_at(200, 30, "Scanned by SomeApp") for _ in range(2)]
    assert "image only" in failure(write_pdf(pages)).message


def test_headers_on_scans_do_not_make_them_text():
    header = text_at(72, 30, "A running header of the archive that holds the original of this")
    pages = [image(1.0) + header for _ in range(4)]
    assert "pp. 1-4: image only" in failure(write_pdf(pages)).message


def test_some_scanned_and_blank_pages_are_marked_and_listed():
    text = text_at(72, 72, "words")
    document = read(write_pdf([text, image(1.0), b"", text, image(1.0), image(0.3)]))
    assert document.parts == (
        Part("a.pdf", "words", page=1),
        Part("a.pdf", "[page 2: image only, no text]", page=2),
        Part("a.pdf", "words", page=4),
        Part("a.pdf", "[page 5: image only, no text]", page=5),
    )
    assert document.skipped == (
        Skipped("a.pdf pp. 2, 5", "image only, no text"),
        Skipped("a.pdf p. 3", "blank page"),
        Skipped("a.pdf p. 6", "drawings or pictures only, no text"),
    )


def test_an_image_with_a_text_layer_is_text():
    content = image(1.0) + lines_at(72, 100, prose(1, 5))
    assert read(write_pdf([content])).parts[0].text == "\n".join(prose(1, 5))


def test_only_blank_pages():
    assert failure(write_pdf([b"", b""])).message == "a.pdf: no text to read, pp. 1-2: blank"


def test_only_drawings():
    error = failure(write_pdf([b"72 72 100 100 re f\n"]))
    assert error.message.endswith("p. 1: drawings or pictures only, no text")


def test_a_page_whose_content_is_broken_is_named():
    pages = [text_at(72, 72, "fine"), b"", text_at(72, 72, "fine as well")]
    broken = stream(b"this is not what zlib would have written", b"/Filter /FlateDecode")
    document = read(write_pdf(pages, extra={13: broken}))
    assert [part.page for part in document.parts] == [1, 3]
    assert document.skipped == (Skipped("a.pdf p. 2", "damaged, can't be read"),)


def test_a_page_that_pdfium_cannot_load_is_read_by_pypdf(monkeypatch):
    original = pdf.read_page

    def failing(document, index):
        if index == 1:
            raise pypdfium2.PdfiumError("Failed to load page.")
        return original(document, index)

    monkeypatch.setattr(pdf, "read_page", failing)
    pages = [text_at(72, 72, f"text {name}") for name in ("one", "two", "three")]
    document = read(write_pdf(pages))
    assert [part.text for part in document.parts] == ["text one", "text two", "text three"]
    assert document.warnings == ("a.pdf p. 2: damaged, read by pypdf; the order may be wrong",)


def test_a_lie_about_the_number_of_pages_is_survived():
    document = read(write_pdf([text_at(72, 72, "the only page")], count=40))
    assert [part.text for part in document.parts] == ["the only page"]


def test_an_absurd_number_of_pages_is_refused_at_once():
    start = time.monotonic()
    error = failure(write_pdf([text_at(72, 72, "the only page")], count=900_000))
    assert error.message == "a.pdf: 900,000 pages; at most 20,000 are read at once"
    assert "--pages" in (error.hint or "")
    assert time.monotonic() - start < 5


def test_a_recursive_page_tree():
    tree = {
        1: b"<< /Type /Catalog /Pages 2 0 R >>",
        2: b"<< /Type /Pages /Kids [3 0 R 3 0 R] /Count 4 /Parent 3 0 R >>",
        3: b"<< /Type /Pages /Kids [2 0 R 2 0 R] /Count 4 /Parent 2 0 R >>",
    }
    failure(write_objects(tree))


def test_a_form_that_draws_itself():
    form = stream(
        b"BT /F1 12 Tf 72 700 Td (inside) Tj ET /Fm Do",
        b"/Type /XObject /Subtype /Form /BBox [0 0 612 792] /Resources 7 0 R",
    )
    resources = b"<< /Font << /F1 3 0 R >> /XObject << /Fm 9 0 R >> >>"
    data = write_pdf([text_at(72, 72, "outside") + b"/Fm Do"], extra={7: resources, 9: form})
    assert read(data).parts[0].text.startswith("outside")


def test_a_circular_outline():
    outline = {
        100: b"<< /Type /Outlines /First 101 0 R /Last 101 0 R >>",
        101: b"<< /Title (Round) /Parent 100 0 R /Next 101 0 R /First 101 0 R >>",
    }
    data = write_pdf([text_at(72, 72, "x")], catalog=b"/Outlines 100 0 R", extra=outline)
    assert read(data).outline.split("\n")[0] == "Round"


@pytest.mark.parametrize("number", [b"1e400", b"-99999999999999999999", b"nan", b"0.0000000001"])
def test_hostile_numbers(number):
    content = b"BT /F1 %b Tf %b %b Td (odd) Tj ET\n" % (number, number, number)
    content += b"%b 0 0 %b 0 0 cm\n" % (number, number) + text_at(72, 72, "even")
    try:
        document = read(write_pdf([text_at(72, 72, "plain"), content]))
    except InputError:
        pytest.fail("the other page is good")
    assert document.parts[0].text == "plain"


def test_too_much_text_on_a_page_is_cut_with_the_number_said(monkeypatch):
    monkeypatch.setattr(pdf_page, "MAX_PAGE_CHARS", 50)
    document = read(write_pdf([text_at(72, 72, "word " * 16), text_at(72, 72, "short")]))
    assert len(document.parts[0].text) <= 50
    assert "p. 1: more than" in document.warnings[0]
    assert document.warnings[0].endswith("30 left out")


def test_a_page_of_half_a_million_characters_takes_bounded_time():
    rows = [b"(%d %b) Tj 0 -0.09 Td " % (row, b"lorem ipsum " * 20) for row in range(2000)]
    content = b"BT /F1 4 Tf 20 780 Td " + b"".join(rows) + b"ET"
    start = time.monotonic()
    document = read(write_pdf([content], compress=True))
    assert time.monotonic() - start < 20
    assert len(document.parts[0].text) <= 100_000
    assert "a.pdf p. 1: more than 100,000 characters on a page, " in document.warnings[0]


def test_too_much_text_in_a_document_ends_the_reading(monkeypatch):
    monkeypatch.setattr(pdf, "MAX_CHARS", 200)
    document = read(write_pdf([lines_at(72, 100, prose(n, 4)) for n in range(9)]))
    assert 1 <= len(document.parts) < 9
    assert document.skipped[-1].reason == "not read, too much text before it"


class Passwords:
    """A caller that gives these passwords one after the other, then none."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, display: str) -> str | None:
        self.asked.append(display)
        return self.answers.pop(0) if self.answers else None


def test_owner_encryption_opens_unasked():
    passwords = Passwords("unused")
    assert read(locked(GOOD, user=""), password=passwords).parts == read(GOOD).parts
    assert passwords.asked == []


def test_a_user_password_is_asked_for_once():
    passwords = Passwords("sesam")
    assert read(locked(GOOD, user="sesam"), password=passwords).parts == read(GOOD).parts
    assert passwords.asked == ["a.pdf"]


def test_one_wrong_password_may_be_corrected():
    passwords = Passwords("wrong", "sesam")
    assert read(locked(GOOD, user="sesam"), password=passwords).parts == read(GOOD).parts
    assert passwords.asked == ["a.pdf", "a.pdf"]


@pytest.mark.parametrize(
    ("answers", "asked", "what"),
    [
        ((), 1, "a.pdf: encrypted, needs a password"),
        (("wrong",), 2, "a.pdf: encrypted, the password is wrong"),
        (("wrong", "wrong"), 2, "a.pdf: encrypted, the password is wrong"),
        (("wrong", "again", "sesam"), 2, "a.pdf: encrypted, the password is wrong"),
        (("\udcff",), 2, "a.pdf: encrypted, the password is wrong"),
    ],
)
def test_a_locked_file_says_how_to_give_the_password(answers, asked, what):
    passwords = Passwords(*answers)
    error = failure(locked(GOOD, user="sesam"), password=passwords)
    assert error.message == what
    assert "--password-file" in (error.hint or "")
    assert "JAMBA_PDF_PASSWORD" in (error.hint or "")
    assert len(passwords.asked) == asked


def test_a_blank_page_in_a_locked_file_is_just_blank():
    data = locked(write_pdf([text_at(72, 72, "text"), b""]), user="sesam")
    document = read(data, password=lambda _: "sesam")
    assert document.skipped == (Skipped("a.pdf p. 2", "blank page"),)
