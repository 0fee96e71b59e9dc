"""Page ranges, and how pages are named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jamba_cli.sources.pdf import PdfOptions, read_pdf
from jamba_cli.sources.pdf_ranges import name_pages, parse_pages
from runtime.errors import InputError, UsageError
from tests.pdf_samples import running_pages, write_pdf


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, [1, 2, 3, 4, 5]),
        ("2", [2]),
        ("2-4", [2, 3, 4]),
        ("-2", [1, 2]),
        ("4-", [4, 5]),
        ("5,1-2, 2", [1, 2, 5]),
        ("5-", [5]),
    ],
)
def test_ranges(text, expected):
    assert parse_pages(text, 5, "a.pdf") == expected


@pytest.mark.parametrize(
    "text", ["", "-", "a", "1,", "0", "0-3", "3-2", "1-2-3", "1.5", "²", "--3"]
)
def test_bad_syntax_is_a_usage_error(text):
    with pytest.raises(UsageError) as caught:
        parse_pages(text, 5, "a.pdf")
    assert "3-10,12,20-" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("text", "page"), [("6", 6), ("2-9", 9), ("7-", 7), ("1-999999999", 999999999)]
)
def test_a_page_beyond_the_end_is_an_input_error_that_says_how_many_there_are(text, page):
    with pytest.raises(InputError, match=f"a.pdf: no page {page}, the document has 5 pages"):
        parse_pages(text, 5, "a.pdf")


def test_selected_pages_keep_their_physical_numbers():
    data = write_pdf(running_pages(12))
    document = read_pdf(data, display="a.pdf", options=PdfOptions(pages="3-4,11"))
    assert [part.page for part in document.parts] == [3, 4, 11]
    assert "s11n0" in document.parts[2].text


@pytest.mark.parametrize(
    ("pages", "expected"),
    [
        ([7], "p. 7"),
        ([2, 3, 4], "pp. 2-4"),
        ([9, 2, 3], "pp. 2-3, 9"),
        (range(1, 41, 2), "pp. 1, 3, 5, 7, 9, 11, 13, 15 and 12 more"),
    ],
)
def test_pages_are_named_as_ranges(pages, expected):
    assert name_pages(pages) == expected


@given(st.sets(st.integers(1, 40), min_size=1))
def test_a_name_parses_back_to_the_same_pages(pages):
    words = name_pages(pages, limit=40).split(" ", 1)[1]
    assert parse_pages(words, 40, "a.pdf") == sorted(pages)
