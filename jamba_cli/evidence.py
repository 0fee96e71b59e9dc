"""Checks an answer against what was read: does each cited place exist, is each quote there?

A quote counts as found when it stands in the document word for word; runs of white space and
the shapes of quotation marks are all that may differ.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from jamba_cli.citations import Target, closing_bracket, find_targets
from jamba_cli.sources.document import Document, Part

NEAR_LINES = 40
"""A cited line is the start of a block; a quote this many lines below it stands where cited."""

_SHORTEST_QUOTE = 3  # characters that are not white space; less proves nothing
_SPACE = re.compile(r"\s+")
_WORD = re.compile(r"\S+")
_SOFT_HYPHEN = "\u00ad"
_SHAPES = str.maketrans({"“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", _SOFT_HYPHEN: None})
_EDGES = " \t\n\"'`*_.,;:!?…"


class Status(StrEnum):
    """What the check of one reference found."""

    QUOTED = "quoted"  # the quote stands at the cited place
    MOVED = "moved"  # the quote stands in the document, but elsewhere
    PLACE = "place"  # the place exists; no quote was given, so the statement is unchecked
    NO_QUOTE = "no-quote"  # the place exists, the quote is nowhere in the document
    NO_PLACE = "no-place"  # the document has no such place

    @property
    def verified(self) -> bool:
        """Whether a quote was found."""
        return self in (Status.QUOTED, Status.MOVED)


@dataclass(frozen=True, slots=True)
class Reference:
    """One checked reference: as the model wrote it, its quote, and where the quote stands."""

    target: str
    quote: str | None
    status: Status
    found_at: str | None = None

    def as_json(self) -> dict[str, object]:
        """The entry of `references` in a JSON result."""
        return {
            "target": self.target,
            "quote": self.quote,
            "verified": self.status.verified,
            "status": str(self.status),
            "found_at": self.found_at,
        }


def normalize(text: str) -> str:
    """The text as quotes are compared: one space for any white space, plain quotation marks."""
    return _SPACE.sub(" ", text.translate(_SHAPES)).strip()


def is_provable(quote: str) -> bool:
    """Whether a quote has words enough to be looked for."""
    return len(normalize(quote).strip(_EDGES)) >= _SHORTEST_QUOTE


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a quote was found: a part, and the line of its first word."""

    part: Part
    offset: int  # characters into part.text

    @property
    def line(self) -> int:
        return self.part.line_at(self.offset)


class Evidence:
    """The document, searchable for quotes and places."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.paths = frozenset(part.path for part in document.parts)
        self._with_path = not document.single_pdf
        self._words: dict[int, _Words] = {}  # of the parts that quotes were found in

    @cached_property
    def _index(self) -> tuple[str, list[int]]:
        """All parts normalized and joined by spaces, and where each begins."""
        texts = [normalize(part.text) for part in self.document.parts]
        starts, position = [], 0
        for text in texts:
            starts.append(position)
            position += len(text) + 1
        return " ".join(texts), starts

    def check(self, target: Target, quote: str | None) -> Reference:
        """What can be said about one reference."""
        places = self.find(quote) if quote else []
        here = [place for place in places if self._is_at(place, target)]
        if here or places:
            place = (here or places)[0]
            found_at = place.part.reference(place.offset, with_path=self._with_path)
            status = Status.QUOTED if here else Status.MOVED
            return Reference(target.text, quote, status, found_at.strip("[]"))
        if not self._exists(target):
            return Reference(target.text, quote, Status.NO_PLACE)
        usable = quote is not None and is_provable(quote)
        return Reference(target.text, quote, Status.NO_QUOTE if usable else Status.PLACE)

    def find(self, quote: str) -> list[_Place]:
        """Every place where the quote stands, in document order (the first hundred)."""
        if not is_provable(quote):
            return []
        wanted = normalize(quote).strip(_EDGES)
        whole, starts = self._index
        places: list[_Place] = []
        position = whole.find(wanted)
        while position >= 0 and len(places) < 100:
            number = bisect.bisect_right(starts, position) - 1
            part = self.document.parts[number]
            last = self.document.parts[bisect.bisect_right(starts, position + len(wanted) - 1) - 1]
            if part.path == last.path:  # a sentence may run over a page end, never over a file end
                offset = self._words_of(number).offset(position - starts[number])
                places.append(_Place(part, offset))
            position = whole.find(wanted, position + 1)
        return places

    def _words_of(self, number: int) -> _Words:
        if number not in self._words:
            self._words[number] = _Words(self.document.parts[number].text)
        return self._words[number]

    def _resolve(self, target: Target) -> frozenset[str]:
        """The paths that a target may mean: its own, or the only one that ends in it."""
        if target.path is None:
            return self.paths if self.document.single_pdf else frozenset()
        if target.path in self.paths:
            return frozenset({target.path})
        ends = {path for path in self.paths if path.endswith(f"/{target.path}")}
        return frozenset(ends) if len(ends) == 1 else frozenset()

    def _is_at(self, place: _Place, target: Target) -> bool:
        part = place.part
        if part.path not in self._resolve(target):
            return False
        if target.kind == "line":
            return target.first - 1 <= place.line <= max(target.last, target.first + NEAR_LINES)
        number = part.page if target.kind == "page" else part.cell
        return number is not None and target.first <= number <= target.last

    def _exists(self, target: Target) -> bool:
        paths = self._resolve(target)
        return any(
            part.path in paths
            and (
                (target.kind == "page" and part.page == target.first)
                or (target.kind == "cell" and part.cell == target.first)
                or (target.kind == "line" and _has_line(part, target.first))
            )
            for part in self.document.parts
        )


def _has_line(part: Part, line: int) -> bool:
    if part.page is not None or part.cell is not None:
        return False
    return part.first_line <= line <= part.first_line + part.text.rstrip("\n").count("\n")


class _Words:
    """Where the words of a text stand once it is normalized: found once, not for every quote."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._normalized: list[int] = []
        self._original: list[int] = []
        seen = 0
        for match in _WORD.finditer(text):
            length = len(match[0]) - match[0].count(_SOFT_HYPHEN)
            if length:
                self._normalized.append(seen)
                self._original.append(match.start())
                seen += length + 1

    def offset(self, position: int) -> int:
        """The offset in the text of the visible character that is at `position` once normalized."""
        number = bisect.bisect_right(self._normalized, position) - 1
        offset, left = self._original[number], position - self._normalized[number]
        while (hyphen := self._text.find(_SOFT_HYPHEN, offset, offset + left + 1)) >= 0:
            offset, left = hyphen + 1, left - (hyphen - offset)
        return offset + left


_MARKS = {
    Status.QUOTED: " ✓",
    Status.MOVED: " ✓",
    Status.PLACE: " ~",
    Status.NO_QUOTE: " ✗",
    Status.NO_PLACE: " ✗",
}
_QUOTED = re.compile(r'"([^"\n]+)"|“([^”\n]+)”')
_BULLET = re.compile(r"^\s*(?:[-*•>]|\d+[.)])\s+")
_LONGEST_TARGET = 300


class AnswerChecker:
    """Passes an answer's text through, marking each reference as soon as it is complete.

    ✓ the quote stands in the document (the reference is set right if it pointed elsewhere),
    ✗ it does not, or there is no such place; ~ no quote was given, so nothing was checked.
    `style` "quote" takes a whole bullet as the quote, whose reference is the bracket that ends the
    line (others are part of the quote); "prose" takes the last words in quotation marks.
    """

    def __init__(self, evidence: Evidence, *, style: str) -> None:
        self.evidence = evidence
        self.style = style
        self.references: list[Reference] = []
        self._held = ""  # from an open bracket on
        self._before = ""  # what stands between the last reference or line start and here

    def push(self, text: str) -> str:
        """Takes more of the answer; returns what can be shown."""
        self._held += text
        return self._release(final=False)

    def flush(self) -> str:
        """Ends the answer; returns what was held back."""
        return self._release(final=True)

    def _release(self, *, final: bool) -> str:
        shown: list[str] = []
        while self._held:
            start = self._held.find("[")
            if start != 0:
                shown.append(self._pass(start if start > 0 else len(self._held)))
                continue
            end = closing_bracket(self._held[:_LONGEST_TARGET])
            if not final and self._is_undecided(end):
                break
            at_line_end = self._held[end : end + 1] in ("", "\n")
            if end and (at_line_end or self.style != "quote"):
                shown.append(self._bracket(end))
            else:
                shown.append(self._pass(1))
        return "".join(shown)

    def _is_undecided(self, end: int) -> bool:
        """Whether more text may close the open bracket, or show that it does not end the line."""
        if end:
            return self.style == "quote" and end == len(self._held)
        return "\n" not in self._held and len(self._held) < _LONGEST_TARGET

    def _pass(self, count: int) -> str:
        text, self._held = self._held[:count], self._held[count:]
        self._before = (self._before + text).rpartition("\n")[2]
        return text

    def _bracket(self, count: int) -> str:
        targets = find_targets(self._held[1 : count - 1], self.evidence.paths)
        if not targets:
            return self._pass(count)
        self._held = self._held[count:]
        quote = self._quote()
        self._before = ""
        checked = [self.evidence.check(target, quote) for target in targets]
        self.references += checked
        return " ".join(f"[{r.found_at or r.target}]{_MARKS[r.status]}" for r in checked)

    def _quote(self) -> str | None:
        if self.style == "quote":
            return _BULLET.sub("", self._before).strip() or None
        found = [a or b for a, b in _QUOTED.findall(self._before)]
        return found[-1] if found else None


def summarize_check(references: Iterable[Reference]) -> str:
    """One line for stderr: how many references were checked and what came out."""
    counts = dict.fromkeys(Status, 0)
    for reference in references:
        counts[reference.status] += 1
    total = sum(counts.values())
    if total == 0:
        return "references: none given"
    pieces = [
        (counts[Status.QUOTED] + counts[Status.MOVED], "quoted word for word ✓"),
        (counts[Status.MOVED], "of them set right"),
        (counts[Status.PLACE], "without a quote ~"),
        (counts[Status.NO_QUOTE], "with a quote that is not in the document ✗"),
        (counts[Status.NO_PLACE], "to a place that does not exist ✗"),
    ]
    listed = ", ".join(f"{count} {text}" for count, text in pieces if count)
    return f"references: {total} checked: {listed}"
