"""Keeps a quoting model to its form: whole quotes of the document, each with its own reference.

The document's quotable pieces are known before the model answers.  Each is written out as the
line the model was trained to give, `- <words> [reference]`, and encoded; while it answers, only
tokens may come next that continue one of these lines.  The choice is the model's at every
token, so is the end of the answer; what it can't do is change a word, or cite another place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

EncodeMany = Callable[[Iterable[str]], list[list[int]]]
Look = Callable[[Sequence[int]], "Tensor | None"]
"""The logits [v] after some further ids, which are not kept; None if there is no room for them."""

LOOK_AHEAD_TOKENS = 8
SKIPPED_WORDS = 3


@dataclass(frozen=True, slots=True)
class Quotable:
    """Words that may be quoted, white space normalized, and the reference of their place."""

    text: str
    reference: str
    start: int  # characters from the document's beginning: pieces that overlap are told by it
    end: int
    is_sentence: bool = False  # one that stands well on its own

    @property
    def line(self) -> str:
        """The line of an answer."""
        return f"- {self.text} {self.reference}"

    def overlaps(self, other: Quotable) -> bool:
        """Whether both are the same words, or stand in part in the same place."""
        return self.text == other.text or (self.start < other.end and other.start < self.end)


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """What an answer may be: at most `most` quotes, or the refusal as a whole (None: never).

    No two quotes overlap.  With `spread` there are `most` of them as long as there is something
    to quote, in the document's order, and none comes so late that those to come have less than
    half of their share of the document.
    """

    quotables: Sequence[Quotable]
    most: int
    refusal: str | None = None
    spread: bool = False


@dataclass(frozen=True, slots=True)
class _Line:
    """A line that may be written: its ids, and what it quotes (None for the refusal).

    `later` are the ids of lines that would begin at one of the quote's next words.
    """

    ids: tuple[int, ...]
    quote: Quotable | None
    later: tuple[tuple[int, ...], ...] = ()


class QuoteGuide:
    """Narrows the next token's logits to what the form allows; serves one answer.

    `encode_many` is the model's tokenizer, `stop_ids` what ends the answer.  A small model often
    leaves out a quote's first word (`pub`, `Dr.`) and so runs into another place that begins as
    it does.  With `look_ahead` it first says without being heard which words it would write, some
    words into a quote if it likes; the line it gives is then the one that they belong to, from
    its beginning.
    """

    def __init__(
        self,
        form: AnswerForm,
        encode_many: EncodeMany,
        stop_ids: Collection[int],
        *,
        look_ahead: bool = False,
    ) -> None:
        self._form = form
        self._stops = tuple(stop_ids)
        self._look_ahead = look_ahead
        [self._break] = map(tuple, encode_many(["\n"]))
        # Lines that may still be begun; each begins with the end of the one before it.
        self._open = self._encode(encode_many)
        self._depth = len(self._break)
        self._read = 0
        self._is_chosen = not look_ahead
        self.given: list[Quotable] = []
        # Lines that agree with what was written since the last end.
        self._lines = self._early(self._open, form.most - 1)

    def _encode(self, encode_many: EncodeMany) -> list[_Line]:
        quotes = self._form.quotables
        later = [_later(quote) if self._look_ahead else [] for quote in quotes]
        texts = [quote.line for quote in quotes] + list(chain.from_iterable(later))
        if self._form.refusal is not None:
            texts.append(self._form.refusal)
        encoded = ((*self._break, *ids) for ids in encode_many(texts))
        whole = list(islice(encoded, len(quotes)))
        lines = [
            _Line(ids, quote, tuple(islice(encoded, len(starts))))
            for ids, quote, starts in zip(whole, quotes, later, strict=True)
        ]
        return lines + [_Line(ids, None) for ids in encoded]

    def __call__(self, generated: Sequence[int], logits: Tensor, look: Look) -> Tensor:
        """Logits [v] of the token after `generated`, -inf where it may not be."""
        self._follow(generated)
        if not self._is_chosen and len(self.allowed()) > 1 and self._done() is None:
            self._choose(logits, look)
        allowed = sorted(self.allowed())
        guided = logits.new_full(logits.shape, -float("inf"))
        guided[allowed] = logits[allowed]
        return guided

    def forced(self, generated: Sequence[int]) -> list[int]:
        """What can only follow: the rest of a line, up to a choice or the end of the answer."""
        self._follow(generated)
        ids: list[int] = []
        while True:
            nexts = self.allowed()
            if len(nexts) > 1 or not nexts.isdisjoint(self._stops):
                return ids
            ids += nexts
            self._advance(ids[-1])
            self._read += 1

    def allowed(self) -> set[int]:
        """The ids that may come next; never none."""
        ids = {line.ids[self._depth] for line in self._lines if len(line.ids) > self._depth}
        done = self._done()
        more = done is not None and done.quote is not None and bool(self._after(done.quote))
        if more:
            ids.add(self._break[0])
        if not ids or (done is not None and not (more and self._form.spread)):
            ids.update(self._stops)
        return ids

    def _choose(self, logits: Tensor, look: Look) -> None:
        """Keeps the lines that hold the words the model would write; waits for the refusal."""
        if any(line.quote is None for line in self._lines):
            return
        self._is_chosen = True
        written = self._lines[0].ids[: self._depth]
        ways = [(ids, line) for line in self._lines for ids in (line.ids, *line.later)]
        ways = [way for way in ways if way[0][: self._depth] == written]
        for at in range(self._depth, self._depth + LOOK_AHEAD_TOKENS):
            if len({_place(line) for _, line in ways}) == 1:
                break
            ahead = look(ways[0][0][self._depth : at]) if at > self._depth else logits
            nexts = sorted({ids[at] for ids, _ in ways if len(ids) > at})
            if ahead is None or not nexts:
                break
            best = nexts[int(ahead[nexts].argmax())]
            ways = [(ids, line) for ids, line in ways if len(ids) > at and ids[at] == best]
        exact = [line for ids, line in ways if ids is line.ids]
        places = {_place(line) for line in exact or [line for _, line in ways]}
        self._lines = [line for line in self._lines if _place(line) in places]

    def _follow(self, generated: Sequence[int]) -> None:
        for token in generated[self._read :]:
            self._advance(token)
        self._read = len(generated)

    def _done(self) -> _Line | None:
        """The line that is complete at this point; of several, the document's first."""
        return next((line for line in self._lines if len(line.ids) == self._depth), None)

    def _after(self, quote: Quotable) -> list[_Line]:
        """The lines that may be begun at some time once this quote is given."""
        if len(self.given) + 1 >= self._form.most:
            return []
        return [
            line
            for line in self._open
            if line.quote is not None
            and not line.quote.overlaps(quote)
            and (not self._form.spread or line.quote.start >= quote.end)
        ]

    def _early(self, lines: list[_Line], to_come: int) -> list[_Line]:
        """The lines that leave enough for the quotes to come after them."""
        if not self._form.spread:
            return lines
        total = len(self._form.quotables)
        left = max(to_come, total * to_come // (2 * self._form.most))
        return lines[: max(1, len(lines) - left)]

    def _advance(self, token: int) -> None:
        depth = self._depth
        going_on = [
            line for line in self._lines if len(line.ids) > depth and line.ids[depth] == token
        ]
        done = self._done()
        if not going_on and done is not None and done.quote is not None and token == self._break[0]:
            self._open = self._after(done.quote)
            self.given.append(done.quote)
            going_on = self._early(self._open, self._form.most - len(self.given) - 1)
            self._is_chosen = not self._look_ahead
            self._depth = 0
        self._lines = going_on
        self._depth += 1


def _later(quote: Quotable) -> list[str]:
    """The beginnings of lines that leave out up to `SKIPPED_WORDS` words of a quote."""
    words = quote.text.split(" ", SKIPPED_WORDS + LOOK_AHEAD_TOKENS)
    skips = range(1, min(len(words), SKIPPED_WORDS + 1))
    return [f"- {' '.join(words[skip : skip + LOOK_AHEAD_TOKENS])}" for skip in skips]


def _place(line: _Line) -> int:
    return -1 if line.quote is None else line.quote.start
