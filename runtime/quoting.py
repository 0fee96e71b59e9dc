"""Keeps a quoting model to its form: whole quotes of the document, each with its own reference.

The document's quotable pieces are known before the model answers.  Each is written out as the
line the model was trained to give, `- <words> [reference]`, and encoded; while it answers, only
tokens may come next that continue one of these lines.  The choice is the model's at every
token, so is the end of the answer; what it can't do is change a word, or cite another place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

EncodeMany = Callable[[Iterable[str]], list[list[int]]]


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

    No two quotes overlap.  With `in_order` each stands after the one before it.
    """

    quotables: Sequence[Quotable]
    most: int
    refusal: str | None = None
    in_order: bool = False


@dataclass(frozen=True, slots=True)
class _Line:
    """A line that may be written: its ids, and what it quotes (None for the refusal)."""

    ids: tuple[int, ...]
    quote: Quotable | None


class QuoteGuide:
    """Narrows the next token's logits to what the form allows; serves one answer.

    `encode_many` is the model's tokenizer, `stop_ids` what ends the answer.
    """

    def __init__(
        self, form: AnswerForm, encode_many: EncodeMany, stop_ids: Collection[int]
    ) -> None:
        self._form = form
        self._stops = tuple(stop_ids)
        refusals = [form.refusal] if form.refusal is not None else []
        texts = [item.line for item in form.quotables] + refusals
        quotes = [*form.quotables, *(None for _ in refusals)]
        break_ids, *encoded = encode_many(["\n", *texts])
        self._break = tuple(break_ids)
        self._open = [
            _Line((*self._break, *ids), quote) for ids, quote in zip(encoded, quotes, strict=True)
        ]  # lines that may still be begun; each begins with the end of the one before it
        self._depth = len(self._break)
        self._read = 0
        self._lines = self._open  # lines that agree with what was written since the last end
        self.given: list[Quotable] = []

    def __call__(self, generated: Sequence[int], logits: Tensor) -> Tensor:
        """Logits [v] of the token after `generated`, -inf where it may not be."""
        for token in generated[self._read :]:
            self._advance(token)
        self._read = len(generated)
        allowed = sorted(self.allowed())
        guided = logits.new_full(logits.shape, -float("inf"))
        guided[allowed] = logits[allowed]
        return guided

    def allowed(self) -> set[int]:
        """The ids that may come next; never none."""
        ids = {line.ids[self._depth] for line in self._lines if len(line.ids) > self._depth}
        done = self._done()
        if done is not None or not ids:
            ids.update(self._stops)
            if done is not None and done.quote is not None and self._after(done.quote):
                ids.add(self._break[0])
        return ids

    def _done(self) -> _Line | None:
        """The line that is complete at this point; of several, the document's first."""
        return next((line for line in self._lines if len(line.ids) == self._depth), None)

    def _after(self, quote: Quotable) -> list[_Line]:
        """The lines that may follow once this quote is given."""
        if len(self.given) + 1 >= self._form.most:
            return []
        return [
            line
            for line in self._open
            if line.quote is not None
            and not line.quote.overlaps(quote)
            and (not self._form.in_order or line.quote.start >= quote.end)
        ]

    def _advance(self, token: int) -> None:
        depth = self._depth
        going_on = [
            line for line in self._lines if len(line.ids) > depth and line.ids[depth] == token
        ]
        done = self._done()
        if not going_on and done is not None and done.quote is not None and token == self._break[0]:
            self._open = going_on = self._after(done.quote)
            self.given.append(done.quote)
            self._depth = 0
        self._lines = going_on
        self._depth += 1
