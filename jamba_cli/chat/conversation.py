"""One document, many questions: what the cache already holds of a prompt is not read again.

What follows the document in a prompt is rendered whole, as ids, and compared with the ids in the
cache.  The cache goes back to the newest point at or before the first difference, and what differs
is read.  The document itself is never looked at again, however long it is.  Points are kept where
prompts part: at the document's end, where the words of a question begin, where the next turn will
go on, and at the end of the prompt, from where an answer can be tried again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from jamba_cli.answering import Answer, Answerer, Show, Usage
from jamba_cli.chat.dialogue import Turn
from jamba_cli.contexts.saving import Saving
from jamba_cli.evidence import Evidence
from jamba_cli.prompts import question_task
from jamba_cli.sources.document import Document
from runtime.errors import BudgetError, UsageError
from runtime.thinking import CLOSE, OPEN, strip_thinking

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.cache import HybridCache, Snapshot
    from runtime.sampling import SamplingParams

QUESTION_TOKENS = 256
"""Room that a document must leave for a first question, besides that for its answer."""

GROWTH_TOKENS = 16_384
"""Room for the turns that a cache is made with; a longer conversation gets a larger one."""

MOST_POINTS = 48
"""Points kept, the document's end besides; one takes as much memory as the Mamba states."""

RETRY_TEMPERATURE = 0.7
"""Of an answer that is tried again, where the first was the likeliest: or it would be the same."""


@dataclass(frozen=True, slots=True)
class _Point:
    """A place that the cache can go back to, and what the model would say there."""

    snapshot: Snapshot
    logits: Tensor

    @property
    def position(self) -> int:
        return self.snapshot.position


def check_fit(shared_tokens: int, context: int, max_tokens: int, name: str) -> None:
    """Raises BudgetError if the document leaves no room for a question and its answer."""
    room = context - max_tokens - QUESTION_TOKENS
    if shared_tokens > room:
        raise BudgetError(
            f"{name}: {shared_tokens:,} tokens do not fit a chat: a context of {context:,} leaves "
            f"{max(room, 0):,} beside an answer of {max_tokens:,} and a question",
            hint='jamba ask SRC "QUESTION" reads it in windows; or name fewer files or pages, or '
            "take a model with a longer context",
        )


class Conversation:
    """A document in the cache and the turns about it.

    A quoting model is asked every question by itself, as it was trained; a model that answers in
    prose is shown the earlier turns.
    """

    def __init__(
        self, answerer: Answerer, saving: Saving, document: Document, *, context: int
    ) -> None:
        self.turns: list[Turn] = []
        self.computed = 0  # tokens that the last prompt took
        self.prompt_tokens = 0  # its length
        self._answerer = answerer
        self._saving = saving
        self._document = document
        self._evidence = Evidence(document)
        self._context = context
        self._params = answerer.params
        self._shared = answerer.reader.prompt(document, "").shared
        self._with_history = answerer.reader.style != "quote"
        self._held: list[int] = []  # what the cache holds after the document
        self._points: list[_Point] = []
        self._retries = 0
        self._unanswered = ""  # a question that was stopped before its answer's first word

    @property
    def max_tokens(self) -> int:
        """The longest answer."""
        return self._params.max_tokens

    @property
    def first_token_s(self) -> float:
        """Seconds from the last question to the first token of its answer."""
        return self._answerer.usage.first_token_s or 0.0

    def begin(self) -> None:
        """Reads the document, from a saved context as far as there is one."""
        self._read_document(min(self._context, len(self._shared) + GROWTH_TOKENS))

    def ask(self, question: str, show: Show) -> Answer:
        """The answer to a question, which becomes a turn."""
        self._retries = 0
        return self._turn(question_task(question), show, self._params)

    def retry(self, show: Show) -> Answer:
        """Another answer to the last question, or the first if it was stopped before it had one.

        What fails or is stopped before its first word leaves the answer that there was.  Raises
        UsageError if there is no question.
        """
        if self._unanswered:
            return self._turn(self._unanswered, show, self._params)
        if not self.turns:
            raise UsageError("there is no question to answer again")
        self._retries += 1
        params = self._params
        seed = None if params.seed is None else params.seed + self._retries
        warm = params.temperature or RETRY_TEMPERATURE
        last = self.turns.pop()
        before = len(self.turns)
        try:
            return self._turn(last.task, show, replace(params, temperature=warm, seed=seed))
        except BaseException:
            if len(self.turns) == before:
                self.turns.append(last)
                self._unanswered = ""
            raise

    def undo(self) -> Turn:
        """Takes the last question back, answered or not; raises UsageError if there is none."""
        if self._unanswered:
            turn, self._unanswered = Turn(self._unanswered, ""), ""
            return turn
        if not self.turns:
            raise UsageError("there is no turn to take back")
        return self.turns.pop()

    def forget(self) -> None:
        """Takes all turns back."""
        self.turns.clear()
        self._unanswered = ""

    def _turn(self, task: str, show: Show, params: SamplingParams) -> Answer:
        before, self._unanswered = len(self.turns), ""
        try:
            return self._answered(task, show, params)
        except KeyboardInterrupt:
            self._unanswered = task if len(self.turns) == before else ""
            raise

    def _answered(self, task: str, show: Show, params: SamplingParams) -> Answer:
        answerer = self._answerer
        answerer.usage, answerer.params = Usage(), params
        rest = self._rest(task, self.turns)
        try:
            logits = self._read(rest, task, params.max_tokens)
        except BaseException:
            self._recover()
            raise
        try:
            guide = answerer.guide(self._document, task, self._evidence)
            answer = answerer.generate(
                self._cache, logits, self._shared + rest, self._evidence, show, guide
            )
        except BaseException:
            self._recover()
            self._keep_turn(task)  # what was shown of an answer is part of the conversation
            raise
        self._held = rest + answerer.generated[: self._cache.position - self.prompt_tokens]
        self._keep_turn(task)
        return answer

    def _recover(self) -> None:
        """Goes back to a whole state: work that was stopped leaves its layers at two positions."""
        if self._points:  # without any the document is read anew
            self._go_back(self._points[-1])

    def _keep_turn(self, task: str) -> None:
        reader = self._answerer.reader
        words = [one for one in self._answerer.generated if one not in reader.stop_ids]
        text = reader.tokenizer.decode(words)
        if strip_thinking(text, inside=reader.chat.starts_in_thought).strip():
            self.turns.append(Turn(task, text))

    def _rest(self, task: str, turns: Sequence[Turn]) -> list[int]:
        """The ids of a prompt after the document."""
        return self._answerer.reader.after_document(task, turns if self._with_history else ())

    # -- the cache

    @property
    def _cache(self) -> HybridCache:
        cache = self._answerer.cache
        assert cache is not None
        return cache

    def _read_document(self, capacity: int) -> None:
        answerer = self._answerer
        cache = answerer.room(capacity)
        self._points.clear()
        logits = answerer.read_document(self._saving, self._document, self._shared, cache)
        answerer.reporter.finish()
        self._held = []
        self._points.append(_Point(cache.snapshot(), logits))

    def _read(self, rest: list[int], task: str, max_tokens: int) -> Tensor:
        """Brings the cache to the end of `rest`, computing what it does not hold of it."""
        self._answerer.generated = []
        begun, end = len(self._shared), len(self._shared) + len(rest)
        self._make_room(end + max_tokens)
        same = _common(self._held, rest)
        if same < len(self._held) or same == len(rest):
            self._go_back([point for point in self._points if point.position <= begun + same][-1])
        start = self._cache.position
        self.prompt_tokens, self.computed = end, end - start
        for stop in [*self._partings(rest, task, start), end]:
            if stop > start:
                new = rest[self._cache.position - begun : stop - begun]
                logits = self._answerer.read_on(new, self._cache)
                self._held = rest[: stop - begun]
                self._add_point(logits)
        self._answerer.reporter.finish()
        return self._points[-1].logits

    def _partings(self, rest: list[int], task: str, start: int) -> list[int]:
        """Where other prompts part from this one: other questions, and the turn after it."""
        begun = len(self._shared)
        others = [self._rest(question_task(words), self.turns) for words in ("x", "Y")]
        places = {begun + min(_common(rest, other) for other in others)}
        if self._with_history:
            for answer in ("x", f"{OPEN}\nx\n{CLOSE}\n\nx"):  # templates look for thoughts
                later = self._rest(question_task("x"), [*self.turns, Turn(task, answer)])
                places.add(begun + _common(rest, later))
        return sorted(place for place in places if start < place < begun + len(rest))

    def _make_room(self, tokens: int) -> None:
        if self._points and tokens <= self._cache.max_tokens:
            return
        if tokens > self._context:
            raise BudgetError(
                f"the conversation and its answer take {tokens:,} tokens, more than the context "
                f"of {self._context:,}",
                hint="/undo takes the last turn back, /new all of them",
            )
        self._read_document(min(self._context, 2 * tokens))

    def _go_back(self, point: _Point) -> None:
        self._cache.restore(point.snapshot)
        self._held = self._held[: point.position - len(self._shared)]
        self._points = [one for one in self._points if one.position <= point.position]

    def _add_point(self, logits: Tensor) -> None:
        cache = self._cache
        self._points = [one for one in self._points if one.position < cache.position]
        self._points.append(_Point(cache.snapshot(), logits))
        if len(self._points) > MOST_POINTS + 1:
            cache.forget(self._points.pop(1).snapshot)


def _common(left: Sequence[int], right: Sequence[int]) -> int:
    """How many ids are the same at the beginning of both."""
    for number, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return number
    return min(len(left), len(right))
