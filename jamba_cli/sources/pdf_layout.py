"""Reading order: columns side by side are read one after the other, whatever order they are in.

pdfium yields text in the order in which the file draws it, which in a two-column page may be
row by row. Where a gutter runs down between two bodies of text, the lines are cut at it and
sorted: what is left of it, then what is right of it, between the lines that cross it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Literal, NamedTuple

from jamba_cli.sources.pdf_page import Line, Word
from jamba_cli.sources.pdf_tables import find_tables

Order = Literal["auto", "stream", "columns"]

_GAP = 0.6  # of the line's height; spaces in justified text stay below it
_CELL_GAP = 0.9
_MIN_GAP = 3.5  # points
_MAX_DEPTH = 3  # gutters within columns: up to four columns on a sane page
_MIN_SIDE = 4  # pieces on each side of a gutter


class TextLine(NamedTuple):
    """A line of output and the index of the `Line` that it comes from."""

    text: str
    source: int


@dataclass(slots=True)
class Piece:
    """A part of a line with no wide gap in it, or a whole row of a table."""

    source: int
    text: str
    x0: float
    x1: float
    top: float
    bottom: float

    @property
    def middle(self) -> float:
        """The height at which it stands, from the top of the page down."""
        return (self.top + self.bottom) / 2

    @property
    def width(self) -> float:
        """From its left to its right edge."""
        return self.x1 - self.x0


class _Gutter(NamedTuple):
    left: float
    right: float

    @property
    def middle(self) -> float:
        return (self.left + self.right) / 2


def order_lines(lines: Sequence[Line], order: Order = "auto") -> list[TextLine]:
    """The page's lines in reading order, rows of tables with ` | ` between their cells.

    `auto` looks for columns and keeps the file's order without; `columns` splits at a gutter on
    thinner evidence; `stream` never splits.
    """
    cut = [split_at_gaps(line) if line.upright else [line.words] for line in lines]
    # A single space of a typewriter font is a wide gap, so cells have to be further apart.
    tables = find_tables([split_at_gaps(line, _CELL_GAP) if line.upright else [] for line in lines])
    pieces: list[Piece] = []
    turned: list[Piece] = []
    for index, (line, parts) in enumerate(zip(lines, cut, strict=True)):
        if index in tables:
            pieces.append(_piece(index, line.words, tables[index]))
        elif line.upright:
            pieces.extend(_piece(index, words) for words in parts)
        else:
            # Text across the page, a stamp in the margin say, belongs to no column.
            (pieces if order == "stream" else turned).append(_piece(index, line.words))
    if order != "stream":
        pieces = _read(pieces, forced=order == "columns", depth=0) + turned
    return _rejoined(pieces)


def split_at_gaps(line: Line, gap: float = _GAP) -> list[list[Word]]:
    """The line's words in groups with at least `gap` line heights between them."""
    groups: list[list[Word]] = [[line.words[0]]]
    for before, word in pairwise(line.words):
        height = max(before.bottom - before.top, word.bottom - word.top)
        # Backwards as well: what is drawn next may lie to the left on the same line.
        if not -height < word.x0 - before.x1 < max(_MIN_GAP, gap * height):
            groups.append([])
        groups[-1].append(word)
    return groups


def _piece(source: int, words: Sequence[Word], text: str | None = None) -> Piece:
    if text is None:
        text = " ".join(word.text for word in words)
    return Piece(
        source,
        text,
        x0=min(word.x0 for word in words),
        x1=max(word.x1 for word in words),
        top=min(word.top for word in words),
        bottom=max(word.bottom for word in words),
    )


def _rejoined(pieces: Iterable[Piece]) -> list[TextLine]:
    """Pieces of one line that are still neighbours become one line again."""
    lines: list[TextLine] = []
    for piece in pieces:
        if lines and lines[-1].source == piece.source:
            lines[-1] = TextLine(f"{lines[-1].text} {piece.text}", piece.source)
        else:
            lines.append(TextLine(piece.text, piece.source))
    return lines


def _read(pieces: list[Piece], *, forced: bool, depth: int) -> list[Piece]:
    gutter = _find_gutter(pieces, forced=forced) if depth < _MAX_DEPTH else None
    if gutter is None:
        return pieces
    left, right, across = _sides(_bridged(pieces, gutter), gutter)
    if not left or not right:
        return pieces
    # Stable: what is on one height stays in the file's order.
    across.sort(key=lambda piece: piece.middle)
    heights = [piece.middle for piece in across]
    result: list[Piece] = []
    bands = [(_bands(left, heights)), (_bands(right, heights))]
    for band in range(len(across) + 1):
        for side in bands:
            result.extend(_read(side[band], forced=forced, depth=depth + 1))
        result.extend(across[band : band + 1])
    return result


def _bands(pieces: Iterable[Piece], heights: Sequence[float]) -> list[list[Piece]]:
    bands: list[list[Piece]] = [[] for _ in range(len(heights) + 1)]
    for piece in pieces:
        bands[bisect_right(heights, piece.middle)].append(piece)
    return bands


def _find_gutter(pieces: Sequence[Piece], *, forced: bool) -> _Gutter | None:
    """The widest strip in the middle of the text that few pieces cross, if columns flank it."""
    if len(pieces) < 2 * _MIN_SIDE:
        return None
    x0 = min(piece.x0 for piece in pieces)
    x1 = max(piece.x1 for piece in pieces)
    gutter = _emptiest_strip(pieces, x0 + 0.25 * (x1 - x0), x1 - 0.25 * (x1 - x0))
    if gutter is None or gutter.right - gutter.left < _MIN_GAP:
        return None
    left = [piece for piece in pieces if piece.x1 <= gutter.middle]
    right = [piece for piece in pieces if piece.x0 >= gutter.middle]
    crossing = len(pieces) - len(left) - len(right)
    if min(len(left), len(right)) < _MIN_SIDE or crossing > 0.4 * len(pieces):
        return None
    if min(len(left), len(right)) < 0.1 * len(pieces):
        return None
    if forced or (_is_column(left) and _is_column(right)):
        return gutter
    return None


def _emptiest_strip(pieces: Sequence[Piece], start: float, end: float) -> _Gutter | None:
    """The strip between `start` and `end` that the fewest pieces cross; of equals the widest."""
    events = sorted([(piece.x0, 1) for piece in pieces] + [(piece.x1, -1) for piece in pieces])
    crossing, fewest, best = 0, len(pieces) + 1, None
    for (x, step), (following, _) in pairwise(events):
        crossing += step
        if not start <= (max(x, start) + min(following, end)) / 2 <= end or following <= x:
            continue
        strip = _Gutter(x, following)
        wider = best is None or strip.right - strip.left > best.right - best.left
        if crossing < fewest or (crossing == fewest and wider):
            fewest, best = crossing, strip
    return best


def _is_column(pieces: Sequence[Piece]) -> bool:
    """Whether the pieces look like lines of running text and not like labels, numbers or cells."""
    width = max(piece.x1 for piece in pieces) - min(piece.x0 for piece in pieces)
    typical = median(piece.width for piece in pieces)
    height = median(piece.bottom - piece.top for piece in pieces)
    return typical >= 0.4 * width and typical >= 7 * height


def _bridged(pieces: Sequence[Piece], gutter: _Gutter) -> list[Piece]:
    """Pieces of one line joined where the gap over the gutter is just a wide space."""
    needed = 0.6 * (gutter.right - gutter.left)
    result: list[Piece] = []
    for piece in pieces:
        before = result[-1] if result else None
        if (
            before is not None
            and before.source == piece.source
            and before.x1 <= gutter.middle <= piece.x0
            and piece.x0 - before.x1 < needed
        ):
            result[-1] = Piece(
                piece.source,
                f"{before.text} {piece.text}",
                x0=before.x0,
                x1=piece.x1,
                top=min(before.top, piece.top),
                bottom=max(before.bottom, piece.bottom),
            )
        else:
            result.append(piece)
    return result


def _sides(
    pieces: Sequence[Piece], gutter: _Gutter
) -> tuple[list[Piece], list[Piece], list[Piece]]:
    """What lies left of the gutter, right of it, and across it."""
    left: list[Piece] = []
    right: list[Piece] = []
    doubtful: list[Piece] = []
    for piece in pieces:
        if piece.x1 <= gutter.middle:
            left.append(piece)
        elif piece.x0 >= gutter.middle:
            right.append(piece)
        else:
            doubtful.append(piece)
    across: list[Piece] = []
    left_heights, right_heights = _heights(left), _heights(right)
    for piece in doubtful:
        # A line that sticks out of its column has a neighbour beyond the gutter; one that is
        # set across both has none.
        leans_left = gutter.middle - piece.x0 > piece.x1 - gutter.middle
        beside = _any_within(right_heights if leans_left else left_heights, piece)
        if not beside:
            across.append(piece)
        elif leans_left:
            left.append(piece)
        else:
            right.append(piece)
    order = {id(piece): position for position, piece in enumerate(pieces)}
    left.sort(key=lambda piece: order[id(piece)])
    right.sort(key=lambda piece: order[id(piece)])
    return left, right, across


def _heights(pieces: Iterable[Piece]) -> list[float]:
    return sorted(piece.middle for piece in pieces)


def _any_within(heights: Sequence[float], piece: Piece) -> bool:
    position = bisect_right(heights, piece.top)
    return position < len(heights) and heights[position] < piece.bottom
