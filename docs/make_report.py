"""Write reading-long-documents.pdf from its Markdown, byte for byte the same each time.

python docs/make_report.py [output.pdf]
"""

from __future__ import annotations

import datetime
import re
import sys
from pathlib import Path

from fpdf import FPDF
from fpdf.enums import Align, MethodReturnValue

HERE = Path(__file__).parent
SOURCE = HERE / "reading-long-documents.md"
MARGIN = 21.0  # mm, as are all lengths here
GUTTER = 8.0
LINE = 5.35
BODY_PT = 11.5


class Report(FPDF):
    """Two columns on A4 with a running header and a footer that counts the pages."""

    def __init__(self, title: str) -> None:
        super().__init__(format="A4")
        self.running_title = title
        self.column = 0
        self.column_top = MARGIN + 5
        self.set_margin(MARGIN)
        self.set_auto_page_break(False)  # columns break by `room_for`
        self.bottom = self.h - MARGIN
        self.c_margin = 0.0
        # Not epw, which follows the left margin from column to column.
        self.text_width = self.w - 2 * MARGIN
        self.column_width = (self.text_width - GUTTER) / 2
        self.set_creation_date(datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC))

    def header(self) -> None:
        """The title at the left and the name of the program at the right of every page."""
        self.set_xy(MARGIN, 11)
        self.set_font("Times", "I", 9)
        self.cell(self.text_width / 2, 5, self.running_title)
        self.cell(self.text_width / 2, 5, "jamba documentation", align=Align.R)
        self.set_y(self.column_top)

    def footer(self) -> None:
        """The page number, centred."""
        self.set_xy(MARGIN, -14)
        self.set_font("Times", "", 9)
        self.cell(self.text_width, 5, f"Page {self.page_no()}", align=Align.C)

    def go_to(self, column: int) -> None:
        """Stand at the top of a column."""
        self.column = column
        self.set_left_margin(MARGIN + column * (self.column_width + GUTTER))
        self.set_xy(self.l_margin, self.column_top)

    def room_for(self, height: float) -> None:
        """Go on in the next column, or on a new page, unless `height` is left in this one."""
        if self.get_y() + height <= self.bottom:
            return
        if self.column == 0:
            self.go_to(1)
            return
        self.column_top = MARGIN + 5
        self.set_left_margin(MARGIN)
        self.add_page()
        self.go_to(0)

    def lines_of(self, text: str) -> list[str]:
        """The text broken to the width of a column, in the current font."""
        return self.multi_cell(
            self.column_width, LINE, text, dry_run=True, output=MethodReturnValue.LINES
        )

    def front(self, title: str, author: str, abstract: str) -> None:
        """Title, author and abstract over the full width."""
        self.set_font("Times", "B", 19)
        self.set_y(MARGIN + 8)
        self.cell(self.text_width, 10, title, align=Align.C, new_x="LMARGIN", new_y="NEXT")
        self.set_font("Times", "", 11)
        self.cell(self.text_width, 9, author, align=Align.C, new_x="LMARGIN", new_y="NEXT")
        self.ln(3)
        self.set_font("Times", "", 10)
        self.set_x(MARGIN + 10)
        self.multi_cell(self.text_width - 20, 4.7, abstract, align=Align.J, markdown=True)
        self.column_top = self.get_y() + 6
        self.go_to(0)

    def section(self, heading: str) -> None:
        """A numbered heading, never alone at the foot of a column, and its bookmark."""
        self.room_for(5 * LINE)
        if self.get_y() > self.column_top:
            self.ln(2.5)
        self.start_section(heading)
        self.set_font("Times", "B", 12)
        for line in self.lines_of(heading):
            self.cell(self.column_width, 6, line, new_x="LMARGIN", new_y="NEXT")
        self.ln(1)

    def paragraph(self, text: str) -> None:
        """Justified text, through as many columns as it takes; no line of it stands alone."""
        self.set_font("Times", "", BODY_PT)
        lines = self.lines_of(text)
        for number, line in enumerate(lines):
            is_last = number == len(lines) - 1
            self.room_for(2 * LINE if number in (0, len(lines) - 2) else LINE)
            self.justified(line.split(), stretch=not is_last)
            self.ln(LINE)
        self.ln(1.6)

    def justified(self, words: list[str], *, stretch: bool) -> None:
        """One line, its spaces widened to fill the column if `stretch`."""
        widths = [self.get_string_width(word) for word in words]
        space = self.get_string_width(" ")
        if stretch and len(words) > 1:
            space = (self.column_width - sum(widths)) / (len(words) - 1)
        x = self.l_margin
        for word, width in zip(words, widths, strict=True):
            self.text(x, self.get_y() + 0.75 * LINE, word)
            x += width + space

    def table_of(self, rows: list[list[str]], caption: str) -> None:
        """A table with its caption, both in one column."""
        self.set_font("Times", "I", 9.5)
        lines = self.lines_of(caption)
        self.room_for((len(rows) + len(lines) + 1) * LINE + 6)
        self.ln(1)
        width = self.column_width / len(rows[0])
        for number, row in enumerate(rows):
            self.set_font("Times", "" if number else "B", 9.5)
            border = "TB" if number == 0 else "B" if number == len(rows) - 1 else 0
            for cell in row:
                self.cell(width, LINE, cell, border=border, align=Align.R)
            self.ln(LINE)
        self.ln(1.5)
        self.set_font("Times", "I", 9.5)
        for line in lines:
            self.cell(self.column_width, LINE, line, new_x="LMARGIN", new_y="NEXT")
        self.ln(3)


def make_report(source: str) -> bytes:
    """The PDF of a text in the few forms of Markdown that the report uses."""
    blocks = [block.strip() for block in re.split(r"\n\s*\n", source.strip())]
    title, author, abstract = blocks[0].removeprefix("# "), blocks[1], blocks[2].removeprefix("> ")
    report = Report(title)
    report.set_title(title)
    report.set_author(author)
    report.set_subject("Memory, chunked reading and checked references in the jamba command line")
    report.add_page()
    report.front(title, author, abstract)
    rest = iter(blocks[3:])
    for block in rest:
        if block.startswith("## "):
            report.section(block.removeprefix("## "))
        elif block.startswith("|"):
            lines = [line.strip("|").split("|") for line in block.splitlines()]
            rows = [[cell.strip() for cell in line] for line in (lines[0], *lines[2:])]
            report.table_of(rows, next(rest))
        else:
            report.paragraph(" ".join(block.split()))
    return bytes(report.output())


def main() -> None:
    """Write the report where the first argument says, or beside its source."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else SOURCE.with_suffix(".pdf")
    target.write_bytes(make_report(SOURCE.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
