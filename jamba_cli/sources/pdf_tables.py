"""Tables: lines whose cells stand below each other in three or more columns."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from jamba_cli.sources.pdf_page import Word

SEPARATOR = " | "
_MIN_COLUMNS = 3
_MIN_ROWS = 3
_LONG_CELL = 24  # characters; longer ones are lines of text columns
_SAME_EDGE = 3.0  # points

Cells = Sequence[Sequence[Word]]
_Span = tuple[float, float]


def find_tables(lines: Sequence[Cells]) -> dict[int, str]:
    """The text of each line that is a row of a table, by the line's index.

    `lines` are groups of words with wide gaps between the groups.
    """
    rows: dict[int, str] = {}
    start = 0
    while start < len(lines):
        end = start
        while end < len(lines) and len(lines[end]) >= 2:
            end += 1
        rows.update(_table(lines, start, end))
        start = max(end, start + 1)
    return rows


def _table(lines: Sequence[Cells], start: int, end: int) -> dict[int, str]:
    """Rows `start` to `end` as a table, or nothing if they are none."""
    if sum(len(cells) >= _MIN_COLUMNS for cells in lines[start:end]) < _MIN_ROWS:
        return {}
    spans = {row: [_span(cell) for cell in lines[row]] for row in range(start, end)}
    lengths = [sum(len(word.text) + 1 for word in cell) for row in spans for cell in lines[row]]
    if median(lengths) > _LONG_CELL:
        return {}
    widest = max(spans, key=lambda row: len(spans[row]))
    columns = sorted(spans[widest])
    placed = {row: _place(spans[row], columns) for row in spans}
    if sum(_aligned(column, spans, placed) for column in range(len(columns))) < _MIN_COLUMNS:
        return {}
    return {
        row: _row_text(lines[row], places, len(columns))
        for row, places in placed.items()
        if places is not None
    }


def _span(cell: Sequence[Word]) -> _Span:
    return min(word.x0 for word in cell), max(word.x1 for word in cell)


def _place(spans: Sequence[_Span], columns: Sequence[_Span]) -> list[int] | None:
    """The column of each cell; None if the cells do not fall into columns of their own."""
    places: list[int] = []
    for x0, x1 in spans:
        distances = [max(x0 - right, left - x1, 0.0) for left, right in columns]
        nearest = min(distances)
        # A cell that reaches over several columns is taken for the first of them.
        places.append(distances.index(nearest))
    return places if len(set(places)) == len(places) else None


def _aligned(
    column: int, spans: dict[int, list[_Span]], placed: dict[int, list[int] | None]
) -> bool:
    """Whether three cells of the column share a left edge, a right edge or a middle."""
    found = [
        spans[row][places.index(column)]
        for row, places in placed.items()
        if places is not None and column in places
    ]
    edges = (
        [x0 for x0, _ in found],
        [x1 for _, x1 in found],
        [(x0 + x1) / 2 for x0, x1 in found],
    )
    return any(_share_a_place(sorted(values)) for values in edges)


def _share_a_place(values: Sequence[float]) -> bool:
    pairs = zip(values, values[_MIN_ROWS - 1 :], strict=False)
    return any(last - first <= _SAME_EDGE for first, last in pairs)


def _row_text(cells: Cells, places: Sequence[int], columns: int) -> str:
    texts = [""] * columns
    for place, cell in zip(places, cells, strict=True):
        texts[place] = " ".join(word.text for word in cell)
    return SEPARATOR.join(texts).strip()
