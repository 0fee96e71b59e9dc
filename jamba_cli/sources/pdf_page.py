"""The words of one PDF page with their boxes, as pdfium sees them, turned upright."""

from __future__ import annotations

import ctypes
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from jamba_cli.sources.pdf_clean import HYPHEN_MARK, clean_word, count_broken

MAX_PAGE_CHARS = 100_000  # a dense page of print holds about 10,000
_MAX_OBJECTS = 2_000
_FEW_CHARS = 200  # a page with fewer may be a scan with a stamp on it
_FAR = 1e6  # points; hostile files put text anywhere, NaN included
_FFFE = re.compile("\ufffe")
_TOKEN = re.compile(rf"[^\s{HYPHEN_MARK}]+{HYPHEN_MARK}?|{HYPHEN_MARK}|[\r\n]+")


class Word(NamedTuple):
    """A run of characters without space; the box in points from the page's upper left corner."""

    text: str
    x0: float
    top: float
    x1: float
    bottom: float
    upright: bool


@dataclass(slots=True)
class Line:
    """Words that pdfium takes for one line, in the order in which the file draws them."""

    words: list[Word]

    @property
    def x0(self) -> float:
        """Left edge."""
        return min(word.x0 for word in self.words)

    @property
    def x1(self) -> float:
        """Right edge."""
        return max(word.x1 for word in self.words)

    @property
    def top(self) -> float:
        """Upper edge, from the top of the page down."""
        return min(word.top for word in self.words)

    @property
    def bottom(self) -> float:
        """Lower edge."""
        return max(word.bottom for word in self.words)

    @property
    def upright(self) -> bool:
        """Whether it runs along the page as most of the text does."""
        return all(word.upright for word in self.words)


@dataclass(slots=True)
class Page:
    """What a page holds. `picture` is the share of the page that images cover, 0 to 1."""

    lines: list[Line]
    height: float
    chars: int
    broken: int = 0  # characters without a meaning
    left_out: int = 0  # characters beyond MAX_PAGE_CHARS
    picture: float = 0.0
    drawn: bool = False  # something other than text is on the page; only known with little text


class _Box(NamedTuple):
    """A character's box in the page's own coordinates: points, y upwards."""

    left: float
    bottom: float
    right: float
    top: float


_NOWHERE = _Box(0.0, 0.0, 0.0, 0.0)


class _Token(NamedTuple):
    """A word, or with empty text a line break."""

    text: str
    start: int  # index of the first character in pdfium's list
    length: int
    first: _Box  # of the first character
    last: _Box
    turn: int | None  # degrees by which to turn the page clockwise to read it; None if unknown


def read_page(document: pdfium.PdfDocument, index: int) -> Page:
    """The page's lines of words. Raises PdfiumError if pdfium can't load the page."""
    page = document[index]
    try:
        text_page = page.get_textpage()
        try:
            result = _read_text(page, text_page)
        finally:
            text_page.close()
        if result.chars < _FEW_CHARS:
            result.picture, result.drawn = _pictures(page)
        return result
    finally:
        page.close()


def _read_text(page: pdfium.PdfPage, text_page: pdfium.PdfTextPage) -> Page:
    total = text_page.count_chars()
    text = _characters(text_page, min(total, MAX_PAGE_CHARS))
    tokens = list(_tokens(text_page, text))
    bounds = _Box(*page.get_bbox())
    turn = _reading_turn(text_page, tokens)
    height = bounds.top - bounds.bottom if turn in (0, 180) else bounds.right - bounds.left
    return Page(
        lines=_lines(tokens, bounds, turn),
        height=_finite(height),
        chars=sum(token.length for token in tokens),
        broken=count_broken(text),
        left_out=max(0, total - MAX_PAGE_CHARS),
    )


def _characters(text_page: pdfium.PdfTextPage, count: int) -> str:
    """One character for each of pdfium's, so that an index into the text is an index there."""
    raw = text_page.raw
    # Not by get_text_range, which recurses once for each leading character without a meaning.
    buffer = (ctypes.c_ushort * (2 * count + 2))()
    units = pdfium_c.FPDFText_GetText(raw, 0, count, buffer) - 1  # the last one is a NUL
    text = memoryview(buffer)[: max(units, 0)].tobytes().decode("utf-16-le", "surrogatepass")
    if len(text) != count:
        # The text has left something out, so only the list tells what stands where.
        return "".join([_character(raw, index) for index in range(count)])
    # pdfium writes U+FFFE for a hyphen of its making and for a character without a meaning.
    return _FFFE.sub(lambda match: _character(raw, match.start()), text)


def _character(raw: pdfium_c.FPDF_TEXTPAGE, index: int) -> str:
    """The character at `index` of pdfium's list; NUL for one without a meaning."""
    code = pdfium_c.FPDFText_GetUnicode(raw, index)
    if code == 2:
        return HYPHEN_MARK if pdfium_c.FPDFText_IsHyphen(raw, index) == 1 else "\x01"
    return chr(code) if code <= 0x10FFFF else "\ufffd"


def _tokens(text_page: pdfium.PdfTextPage, text: str) -> Iterator[_Token]:
    rect = pdfium_c.FS_RECTF()
    raw, loose_box = text_page.raw, pdfium_c.FPDFText_GetLooseCharBox

    def box(index: int) -> _Box:
        if not loose_box(raw, index, rect):
            return _NOWHERE
        left, bottom, right, top = rect.left, rect.bottom, rect.right, rect.top
        # False for NaN as well.
        if -_FAR < left <= right < _FAR and -_FAR < bottom <= top < _FAR:
            return _Box(left, bottom, right, top)
        return _NOWHERE

    for match in _TOKEN.finditer(text):
        piece, start, end = match.group(), match.start(), match.end()
        if piece[0] in "\r\n":
            yield _Token("", start, 0, _NOWHERE, _NOWHERE, None)
        elif word := clean_word(piece).strip():
            first = box(start)
            # pdfium makes up the mark of a hyphen, so its box may be nowhere.
            end -= piece[-1] == HYPHEN_MARK and end - start > 1
            length = end - start
            last = box(end - 1) if length > 1 else first
            yield _Token(word, start, length, first, last, _turn(first, last))


def _turn(first: _Box, last: _Box) -> int | None:
    dx = last.left + last.right - first.left - first.right
    dy = last.bottom + last.top - first.bottom - first.top
    if abs(dx) > abs(dy):
        return 0 if dx > 0 else 180
    if dy == 0:
        return None
    return 90 if dy > 0 else 270


def _reading_turn(text_page: pdfium.PdfTextPage, tokens: list[_Token]) -> int:
    """The turn that suits most of the page's characters, whatever /Rotate says."""
    votes = {0: 0, 90: 0, 180: 0, 270: 0}
    leftward: _Token | None = None
    for token in tokens:
        if token.turn is not None:
            votes[token.turn] += token.length
            if token.turn == 180:
                leftward = token
    best = max(votes, key=lambda turn: votes[turn])
    if best == 180 and leftward is not None:
        # Arabic and Hebrew run to the left as well, with their letters upright.
        angle = pdfium_c.FPDFText_GetCharAngle(text_page.raw, leftward.start)
        return 180 if abs(angle - math.pi) < 0.5 else 0
    return best


def _lines(tokens: list[_Token], bounds: _Box, turn: int) -> list[Line]:
    lines: list[Line] = []
    words: list[Word] = []
    for token in tokens:
        if not token.text:
            ends = True
        else:
            word = _placed(token, bounds, turn, words[-1].upright if words else True)
            ends = bool(words) and (
                words[-1].text.endswith(HYPHEN_MARK) or _elsewhere(words[-1], word)
            )
        if ends and words:
            lines.append(Line(words))
            words = []
        if token.text:
            words.append(word)
    if words:
        lines.append(Line(words))
    return lines


def _placed(token: _Token, bounds: _Box, turn: int, upright_before: bool) -> Word:
    upright = upright_before if token.turn is None else (token.turn - turn) % 180 == 0
    x0, top, x1, bottom = _turned(token.first, bounds, turn)
    if token.last is not token.first:
        last_x0, last_top, last_x1, last_bottom = _turned(token.last, bounds, turn)
        x0, x1 = (x0, last_x1) if x0 <= last_x0 else (last_x0, x1)
        top, bottom = min(top, last_top), max(bottom, last_bottom)
    return Word(token.text, x0, top, x1, bottom, upright)


def _turned(box: _Box, bounds: _Box, turn: int) -> tuple[float, float, float, float]:
    """x0, top, x1, bottom from the upper left corner of the turned page."""
    left, bottom, right, top = box
    if turn == 0:
        return left - bounds.left, bounds.top - top, right - bounds.left, bounds.top - bottom
    if turn == 90:
        return bottom - bounds.bottom, left - bounds.left, top - bounds.bottom, right - bounds.left
    if turn == 180:
        return (
            bounds.right - right,
            bottom - bounds.bottom,
            bounds.right - left,
            top - bounds.bottom,
        )
    return bounds.top - top, bounds.right - right, bounds.top - bottom, bounds.right - left


def _elsewhere(before: Word, word: Word) -> bool:
    """Whether the word can't be on the same line, which pdfium misses after a hyphen."""
    if not (before.upright and word.upright):
        return before.upright != word.upright
    return word.top >= before.bottom or word.bottom <= before.top


def _pictures(page: pdfium.PdfPage) -> tuple[float, bool]:
    """The share of the page that images cover, and whether anything is drawn at all."""
    width, height = page.get_size()
    area = max(width * height, 1.0)
    covered, drawn = 0.0, False
    for item in islice(page.get_objects(max_depth=1), _MAX_OBJECTS):
        if item.type == pdfium_c.FPDF_PAGEOBJ_TEXT:
            continue
        drawn = True
        if _is_picture(page, item):
            left, bottom, right, top = item.get_bounds()
            size = abs(_finite(right - left) * _finite(top - bottom))
            covered += min(size, area)
    return min(covered / area, 1.0), drawn


def _finite(value: float) -> float:
    return value if -_FAR < value < _FAR else 0.0  # false for NaN as well


def _is_picture(page: pdfium.PdfPage, item: pdfium.PdfObject) -> bool:
    if item.type == pdfium_c.FPDF_PAGEOBJ_IMAGE:
        return True
    if item.type != pdfium_c.FPDF_PAGEOBJ_FORM:
        return False
    # An image within a form has its bounds in the form's coordinates, so the form's own count.
    images = page.get_objects([pdfium_c.FPDF_PAGEOBJ_IMAGE], max_depth=4, form=item, level=1)
    return next(iter(images), None) is not None
