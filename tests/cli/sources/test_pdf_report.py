"""The report that ships in docs/, read back: the reader's whole work on a real two-column PDF."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from jamba_cli.sources.document import Document
from jamba_cli.sources.pdf import PdfOptions, read_pdf

DOCS = Path(__file__).parents[3] / "docs"
MARKDOWN = DOCS / "reading-long-documents.md"
PDF = DOCS / "reading-long-documents.pdf"


@pytest.fixture(scope="module")
def report() -> Document:
    return read_pdf(PDF, display=PDF.name, options=PdfOptions())


def words_of_source() -> list[str]:
    source = re.sub(r"^\|[-|]+\|\n", "", MARKDOWN.read_text(encoding="utf-8"), flags=re.MULTILINE)
    source = re.sub(r"^(# |## |> )|\*\*", "", source, flags=re.MULTILINE)
    return source.replace("|", " ").split()


def test_every_word_comes_out_in_reading_order(report):
    text = "\n".join(part.text for part in report.parts)
    assert text.replace("|", " ").split() == words_of_source()


def test_it_has_five_pages_without_trouble(report):
    assert [part.page for part in report.parts] == [1, 2, 3, 4, 5]
    assert report.skipped == ()
    assert report.warnings == ()


def test_running_header_and_footer_are_gone_but_can_be_kept(report):
    assert not any("jamba documentation" in part.text for part in report.parts)
    assert not any(re.search(r"^Page \d$", part.text, re.MULTILINE) for part in report.parts)
    kept = read_pdf(PDF, display=PDF.name, options=PdfOptions(keep_headers=True))
    assert all("jamba documentation" in part.text for part in kept.parts)
    assert all(part.text.endswith(f"Page {part.page}") for part in kept.parts)


def test_the_table_is_a_table(report):
    assert "\n262,144 | 4 GiB | 32 GiB | 15.3 MiB\n" in report.parts[1].text


def test_outline_and_metadata(report):
    assert report.metadata["title"] == "How jamba reads a long document"
    assert report.metadata["author"] == "The jamba authors"
    assert report.outline.startswith("1. The problem (p. 1)\n2. Two kinds of layer (p. 1)\n")


def test_the_generator_writes_what_the_file_holds(tmp_path):
    make_report = runpy.run_path(str(DOCS / "make_report.py"))["make_report"]
    source = MARKDOWN.read_text(encoding="utf-8")
    data = make_report(source)
    assert data == make_report(source)
    assert len(data) < 200_000
    again = read_pdf(data, display="again.pdf", options=PdfOptions())
    stored = read_pdf(PDF, display="stored.pdf", options=PdfOptions())
    assert [part.text for part in again.parts] == [part.text for part in stored.parts]
