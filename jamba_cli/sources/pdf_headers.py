"""Running headers, footers and page numbers: what repeats at the edges of a document's pages."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jamba_cli.sources.pdf_page import Line

MIN_PAGES = 3  # fewer can't tell a header from a line that happens to come twice
_MARGIN = 0.15  # of the page's height
_ROWS = 2  # at each edge
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class EdgeRow:
    """A row of text at the upper or lower edge of a page."""

    edge: str  # "top" or "bottom"
    text: str
    sources: frozenset[int]  # the page's `Line`s that stand in this row

    @property
    def masked(self) -> str:
        """The text with # for each number."""
        return _DIGITS.sub("#", self.text)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers in the text, in order."""
        # Longer runs of digits number no pages, and int() refuses the very long ones.
        return tuple(int(run[:12]) for run in _DIGITS.findall(self.text))


def edge_rows(lines: Sequence[Line], height: float) -> list[EdgeRow]:
    """The two uppermost and the two lowest rows of a page that stand in its margins."""
    rows = _visual_rows(lines)
    found: list[EdgeRow] = []
    for members in rows[:_ROWS]:
        if max(lines[index].bottom for index in members) <= _MARGIN * height:
            found.append(_edge_row("top", lines, members))
    for members in rows[-_ROWS:]:
        if min(lines[index].top for index in members) >= (1 - _MARGIN) * height:
            found.append(_edge_row("bottom", lines, members))
    return found


def _edge_row(edge: str, lines: Sequence[Line], members: Iterable[int]) -> EdgeRow:
    members = list(members)
    words = sorted((word for index in members for word in lines[index].words), key=lambda w: w.x0)
    return EdgeRow(edge, " ".join(word.text for word in words), frozenset(members))


def _visual_rows(lines: Sequence[Line]) -> list[list[int]]:
    """Indices of the lines that stand on one height, from the top of the page down."""
    rows: list[list[int]] = []
    bottom = 0.0
    order = sorted(
        (line.top, line.bottom, index) for index, line in enumerate(lines) if line.upright
    )
    for top, line_bottom, index in order:
        if rows and top < bottom - 0.5 * (line_bottom - top):
            rows[-1].append(index)
        else:
            rows.append([index])
            bottom = line_bottom
    return rows


def find_running(pages: dict[int, list[EdgeRow]], labels: dict[int, str]) -> dict[int, set[int]]:
    """The lines to leave out of each page, by page number.

    A row runs if, digits aside, it stands at the same edge of more than half of the pages, or of
    the odd or the even ones; numbers in it must stay the same or count the pages. `labels` holds
    printed page numbers where the file states them.
    """
    if len(pages) < MIN_PAGES:
        return {}
    places: defaultdict[tuple[str, str], dict[int, EdgeRow]] = defaultdict(dict)
    for page, rows in pages.items():
        for row in rows:
            places[row.edge, row.masked][page] = row
    running: defaultdict[int, set[int]] = defaultdict(set)
    for found in places.values():
        for page in _running_on(found, pages):
            running[page].update(found[page].sources)
    for page, rows in pages.items():
        for row in rows:
            if row.text == labels.get(page):
                running[page].update(row.sources)
    return dict(running)


def _running_on(found: dict[int, EdgeRow], pages: Iterable[int]) -> list[int]:
    """The pages among `found` on which the row is a running one."""
    total = Counter(page % 2 for page in pages)
    own = Counter(page % 2 for page in found)
    often = len(found) > total.total() / 2
    for parity in (0, 1):
        often = often or (own[parity] >= MIN_PAGES and own[parity] > total[parity] / 2)
    if not often:
        return []
    texts = Counter(row.text for row in found.values())
    offsets = Counter(
        (place, number - page)
        for page, row in found.items()
        for place, number in enumerate(row.numbers)
    )
    # The front matter and the body of a book count their pages apart, hence not just the most
    # common offset; but a lone one may be a line of the text, "1984" say.
    steady = {text for text, times in texts.items() if times >= min(MIN_PAGES, len(found))}
    counting = {offset for offset, times in offsets.items() if times >= min(MIN_PAGES, len(found))}
    return [
        page
        for page, row in found.items()
        if row.text in steady
        or any((place, number - page) in counting for place, number in enumerate(row.numbers))
    ]
