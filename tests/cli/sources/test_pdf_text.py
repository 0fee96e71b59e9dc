"""What a PDF's pages come out as: order, words, headers, tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jamba_cli.sources.document import Document, Part
from jamba_cli.sources.pdf import PdfOptions, read_pdf
from jamba_cli.sources.pdf_clean import HYPHEN_MARK, Spelling, clean_text, join_lines
from tests.pdf_samples import (
    HEIGHT,
    LEFT_X,
    RIGHT_X,
    WIDTH,
    Page,
    lines_at,
    prose,
    running_pages,
    text_at,
    turned_text,
    two_columns,
    write_pdf,
)


def read(data: bytes, **options: object) -> Document:
    return read_pdf(data, display="a.pdf", options=PdfOptions(**options))


def texts(data: bytes, **options: object) -> list[str]:
    return [part.text for part in read(data, **options).parts]


def test_a_page_becomes_a_part_with_its_number():
    document = read(write_pdf([text_at(72, 72, "First page."), text_at(72, 72, "Second page.")]))
    assert document.parts == (
        Part("a.pdf", "First page.", page=1),
        Part("a.pdf", "Second page.", page=2),
    )
    assert document.skipped == ()
    assert document.warnings == ()


@pytest.mark.parametrize("row_wise", [False, True])
@pytest.mark.parametrize("title", ["", "A Title Across Both of the Columns"])
def test_two_columns_are_read_one_after_the_other(row_wise, title):
    data, expected = two_columns(row_wise=row_wise, title=title)
    assert texts(data) == ["\n".join(expected)]


def test_stream_order_keeps_the_rows():
    data, expected = two_columns(row_wise=True, rows=10)
    rows = [f"{left} {right}" for left, right in zip(expected[:10], expected[10:], strict=True)]
    assert texts(data, order="stream") == ["\n".join(rows)]


def test_columns_can_be_forced_where_auto_sees_a_list():
    labels, values = (
        ["Name", "Place", "Born", "Died", "Work"],
        ["Ada", "Rome", "1815", "1852", "Poet"],
    )
    rows = list(zip(labels, values, strict=True))
    content = b"".join(
        text_at(LEFT_X, 100 + 14 * row, label) + text_at(RIGHT_X, 100 + 14 * row, value)
        for row, (label, value) in enumerate(rows)
    )
    assert texts(write_pdf([content])) == ["\n".join(f"{a} {b}" for a, b in rows)]
    assert texts(write_pdf([content]), order="columns") == ["\n".join(labels + values)]


def test_a_line_across_separates_bands_of_columns():
    upper_left, upper_right = prose(1, 6), prose(2, 6)
    lower_left, lower_right = prose(3, 6), prose(4, 6)
    across = (
        "A caption that is set across the whole of the page and crosses the gutter in the middle"
    )
    content = b""
    for y, left, right in ((100, upper_left, upper_right), (300, lower_left, lower_right)):
        for row in range(6):
            content += text_at(LEFT_X, y + 14 * row, left[row])
            content += text_at(RIGHT_X, y + 14 * row, right[row])
    content += text_at(LEFT_X, 240, across)
    expected = [*upper_left, *upper_right, across, *lower_left, *lower_right]
    assert texts(write_pdf([content])) == ["\n".join(expected)]


def test_a_line_that_sticks_out_of_its_column_stays_in_it():
    left, right = prose(1, 20), prose(2, 20)
    left[9] = "a line that is too long for the column it was set in by"
    content = lines_at(LEFT_X, 100, left) + lines_at(RIGHT_X, 100, right)
    assert texts(write_pdf([content])) == ["\n".join(left + right)]


def test_three_columns_drawn_by_rows():
    columns = [prose(seed, 20, words=6) for seed in (1, 2, 3)]
    content = b"".join(
        text_at(25 + 195 * column, 100 + 14 * row, columns[column][row])
        for row in range(20)
        for column in range(3)
    )
    assert texts(write_pdf([content])) == ["\n".join(line for column in columns for line in column)]


def test_hyphens_between_columns_join_the_right_lines():
    left = [*prose(1, 8), "the left column ends in an unfin-", "ished word and then goes on here"]
    right = [*prose(2, 8), "the right column has another exam-", "ple of such a word and continues"]
    content = b"".join(
        text_at(LEFT_X, 100 + 14 * row, left[row]) + text_at(RIGHT_X, 100 + 14 * row, right[row])
        for row in range(10)
    )
    text = texts(write_pdf([content]))[0].split("\n")
    assert text[8] == "the left column ends in an unfinished word and then goes on here"
    assert text[17] == "the right column has another example of such a word and continues"


def test_hyphen_before_a_capital_stays():
    content = lines_at(72, 100, ["models such as Mamba-", "Attention and the exam-", "ple of it"])
    assert texts(write_pdf([content])) == ["models such as Mamba-\nAttention and the example of it"]


def test_a_compound_that_is_written_elsewhere_keeps_its_hyphen():
    content = lines_at(
        72, 100, ["a long-context model reads a long-", "context file and a re-", "port"]
    )
    expected = "a long-context model reads a long-context file and a report"
    assert texts(write_pdf([content])) == [expected]


def test_ligatures_controls_and_private_use():
    content = b"BT /F2 12 Tf 72 700 Td (abcd efgh) Tj ET"
    unicode_map = {
        ord("a"): "\ufb01",
        ord("b"): "x",
        ord("c"): "\ufb04",
        ord("d"): "\x1b",
        ord("e"): "²",
        ord("f"): "\uf8f1",
        ord("g"): "z",
        ord("h"): "\u202e",
    }
    assert texts(write_pdf([content], unicode_map=unicode_map)) == ["fixffl ² z"]


def test_a_broken_unicode_map_is_counted_and_named():
    fine = text_at(72, 72, "This page is all right, and so are most of its words.")
    broken = fine + b"BT /F2 12 Tf 72 600 Td (ab ab) Tj ET"
    document = read(write_pdf([fine, broken], unicode_map={ord("a"): "\ufffd", ord("b"): "n"}))
    assert document.parts[1].text.endswith("\ufffdn \ufffdn")
    assert document.warnings == (
        "a.pdf p. 2: 2 characters have no meaning in the file (shown as \ufffd)",
    )


def test_a_page_of_broken_characters_is_called_unreadable():
    broken = b"BT /F2 12 Tf 72 600 Td (aaaa aaaa) Tj ET"
    document = read(write_pdf([broken], unicode_map={ord("a"): "\ufffd"}))
    assert "ocrmypdf --force-ocr" in document.warnings[1]


def test_thousands_of_characters_without_a_meaning_are_counted():
    rows = [b"BT /F2 8 Tf 20 %d Td (%b) Tj ET " % (780 - 9 * row, b"a" * 90) for row in range(40)]
    document = read(write_pdf([b"".join(rows) + text_at(72, 700, "end")], unicode_map={97: "\x00"}))
    assert "3,600 characters have no meaning" in document.warnings[0]
    assert "\x00" not in document.parts[0].text


def test_supplementary_characters_survive():
    content = b"BT /F2 12 Tf 72 600 Td (abc) Tj ET"
    data = write_pdf([content], unicode_map={97: "x", 98: "\U0001d44e", 99: "y"})
    assert texts(data) == ["x\U0001d44ey"]


@pytest.mark.parametrize("two_sided", [False, True])
def test_running_headers_and_footers_go(two_sided):
    data = write_pdf(running_pages(8, two_sided=two_sided))
    assert texts(data) == ["\n".join(prose(number, 6)) for number in range(1, 9)]


def test_headers_can_be_kept():
    text = texts(write_pdf(running_pages(4)), keep_headers=True)[2]
    assert text.split("\n") == ["The Book of Stones", *prose(3, 6), "Page 3 of 4"]


def test_two_pages_are_too_few_to_call_a_line_a_header():
    assert texts(write_pdf(running_pages(2)))[0].startswith("The Book of Stones")


def test_one_selected_page_has_the_headers_of_its_neighbours_removed():
    assert texts(write_pdf(running_pages(30)), pages="17") == ["\n".join(prose(17, 6))]


def test_headings_that_merely_look_alike_stay():
    years = (1066, 1215, 1492, 1789, 1914)
    pages = [text_at(72, 60, f"Year {year}") + lines_at(72, 130, prose(year, 6)) for year in years]
    assert [text.split("\n")[0] for text in texts(write_pdf(pages))] == [
        f"Year {year}" for year in years
    ]


def test_a_repeated_line_in_the_body_stays():
    pages = [lines_at(72, 300, ["Remember this.", *prose(n, 4)]) for n in range(5)]
    assert all(text.startswith("Remember this.") for text in texts(write_pdf(pages)))


def test_printed_page_numbers_go_and_labels_are_kept():
    romans = ("i", "ii", "iii", "iv")
    pages = [lines_at(72, 130, prose(n, 5)) + text_at(300, 760, romans[n]) for n in range(4)]
    data = write_pdf(pages, catalog=b"/PageLabels << /Nums [0 << /S /r >> 3 << /S /D /St 4 >>] >>")
    document = read(data)
    assert [part.page_label for part in document.parts] == ["i", "ii", "iii", None]
    assert [part.text for part in document.parts[:3]] == ["\n".join(prose(n, 5)) for n in range(3)]


def test_tables_keep_their_cells_apart():
    rows = [("Model", "Layers", "Memory"), ("Mini", "32", "4 GiB"), ("Large", "72", "9 GiB")]
    rows.append(("Small one", "", "0.25 GiB"))
    content = text_at(72, 90, "Sizes of three models and what they need, in one table.")
    for row, cells in enumerate(rows):
        for x, cell in zip((72, 200, 300), cells, strict=True):
            content += text_at(x, 120 + 14 * row, cell) if cell else b""
    content += text_at(72, 200, "The text goes on below the table.")
    assert texts(write_pdf([content]))[0].split("\n") == [
        "Sizes of three models and what they need, in one table.",
        "Model | Layers | Memory",
        "Mini | 32 | 4 GiB",
        "Large | 72 | 9 GiB",
        "Small one |  | 0.25 GiB",
        "The text goes on below the table.",
    ]


@pytest.mark.parametrize(
    ("matrix", "rotate", "place"),
    [
        ("0 1 -1 0", 90, lambda row: (100 + 14 * row, 72)),
        ("0 1 -1 0", 0, lambda row: (100 + 14 * row, 72)),
        ("-1 0 0 -1", 180, lambda row: (WIDTH - 72, 100 + 14 * row)),
        ("0 -1 1 0", 270, lambda row: (WIDTH - 100 - 14 * row, HEIGHT - 72)),
    ],
)
def test_rotated_pages_read_as_they_are_shown(matrix, rotate, place):
    lines = prose(1, 8)
    content = b"".join(turned_text(*place(row), line, matrix) for row, line in enumerate(lines))
    assert texts(write_pdf([Page(content, rotate=rotate)])) == ["\n".join(lines)]


def test_a_stamp_in_the_margin_does_not_cut_through_columns():
    _, expected = two_columns(row_wise=True)
    left, right = expected[:30], expected[30:]
    content = b"".join(
        text_at(LEFT_X, 120 + 14 * row, left[row]) + text_at(RIGHT_X, 120 + 14 * row, right[row])
        for row in range(30)
    )
    content += turned_text(30, 300, "preprint of 2026", "0 1 -1 0")
    assert texts(write_pdf([content])) == ["\n".join([*expected, "preprint of 2026"])]


def test_outline_and_metadata():
    outline = {
        100: b"<< /Type /Outlines /First 101 0 R /Last 102 0 R /Count 3 >>",
        101: b"<< /Title (One) /Parent 100 0 R /Next 102 0 R /First 103 0 R /Last 103 0 R "
        b"/Count 1 /Dest [10 0 R /Fit] >>",
        102: b"<< /Title <FEFF00540077006F0007> /Parent 100 0 R /Prev 101 0 R "
        b"/Dest [12 0 R /Fit] >>",
        103: b"<< /Title (One and a half) /Parent 101 0 R /Dest [12 0 R /Fit] >>",
    }
    pages = [text_at(72, 72, "one"), text_at(72, 72, "two")]
    info = {"Title": "A\x07 \n\x9bTitle", "Author": "Ann", "Producer": "none of ours"}
    document = read(write_pdf(pages, catalog=b"/Outlines 100 0 R", extra=outline, info=info))
    assert document.outline == "One (p. 1)\n  One and a half (p. 2)\nTwo (p. 2)"
    assert document.metadata == {"title": "A Title", "author": "Ann"}


def test_half_characters_in_title_outline_and_label_do_no_harm():
    outline = {
        100: b"<< /Type /Outlines /First 101 0 R /Last 101 0 R /Count 1 >>",
        101: b"<< /Title <FEFF0041D800> /Parent 100 0 R /Dest [10 0 R /Fit] >>",
        8: b"<< /Title <FEFF0042DC00> >>",
    }
    labels = b"/Outlines 100 0 R /PageLabels << /Nums [0 << /P <FEFF0043D800> >>] >>"
    document = read(write_pdf([text_at(72, 72, "x")], catalog=labels, extra=outline))
    assert document.outline == "A\ufffd (p. 1)"
    assert document.metadata == {"title": "B\ufffd"}
    assert document.parts[0].page_label == "C\ufffd"


def test_progress_counts_every_page():
    seen: list[tuple[int, int]] = []
    read_pdf(
        write_pdf(running_pages(5)),
        display="a.pdf",
        options=PdfOptions(pages="2-4"),
        on_page=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_compressed_content_reads_the_same():
    pages = running_pages(4)
    assert texts(write_pdf(pages, compress=True)) == texts(write_pdf(pages))


@given(st.text())
def test_clean_text_leaves_nothing_that_a_terminal_or_tokenizer_minds(text):
    cleaned = clean_text(text)
    cleaned.encode("utf-8")
    for char in cleaned:
        code = ord(char)
        assert char in "\n\t" or not (code < 0x20 or 0x7F <= code < 0xA0)
        assert not 0xE000 <= code < 0xF900
        assert code < 0xF0000
        assert char not in "\ufffe\uffff\u202e\u200b"
    assert clean_text(cleaned) == cleaned


@given(st.text(alphabet="abc ²½ﬁΩ\n\t", max_size=30))
def test_clean_text_changes_only_ligatures_among_ordinary_characters(text):
    assert clean_text(text) == text.replace("ﬁ", "fi")


@given(st.lists(st.text(alphabet="aB-1 " + HYPHEN_MARK, min_size=1, max_size=8), max_size=6))
def test_joining_lines_changes_only_hyphens_and_line_ends(lines):
    joined = join_lines(lines, Spelling())
    drop = str.maketrans("", "", "-\n" + HYPHEN_MARK)
    assert joined.translate(drop) == "".join(lines).translate(drop)
    assert HYPHEN_MARK not in joined
