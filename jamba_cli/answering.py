"""Reads a plan's windows through the model and streams the checked answer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from jamba_cli.contexts.saving import Saving
from jamba_cli.evidence import AnswerChecker, Evidence, Reference
from jamba_cli.progress import Reporter
from jamba_cli.prompts import NOT_FOUND
from jamba_cli.quotable import answer_form
from jamba_cli.reader import Prompt, Reader
from jamba_cli.sources.document import Document, Part
from jamba_cli.windows import Plan, plan
from runtime.quoting import QuoteGuide
from runtime.thinking import ThinkingFilter

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.cache import HybridCache
    from runtime.engine import Engine, Guide, OnChunk
    from runtime.sampling import SamplingParams

logger = logging.getLogger(__name__)

PLACES_NAMED = 8
"""Places of notes that a warning names."""

Show = Callable[[str], None]
"""Receives text that is ready to be shown."""


@dataclass(slots=True)
class Usage:
    """What an answer took: tokens, and seconds since the model was ready."""

    input_tokens: int = 0
    generated_tokens: int = 0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    first_token_s: float | None = None
    started: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished text with its checked references."""

    text: str
    references: tuple[Reference, ...]
    complete: bool  # False: it was cut at --max-tokens

    @property
    def found(self) -> bool:
        """Whether the model says that the document holds an answer."""
        return not self.text.strip().startswith(NOT_FOUND.rstrip("."))


class Answerer:
    """Runs tasks on documents with one loaded model and one cache that is used again."""

    def __init__(
        self,
        engine: Engine,
        reader: Reader,
        reporter: Reporter,
        params: SamplingParams,
        *,
        chunk_tokens: int | None = None,
        saving: Saving | None = None,
    ) -> None:
        self.engine = engine
        self.reader = reader
        self.reporter = reporter
        self.params = params
        self.chunk_tokens = chunk_tokens
        self.saving = saving
        self.usage = Usage()
        self.generated: list[int] = []  # the ids of the last answer
        self.cache: HybridCache | None = None

    def run(
        self,
        task: str,
        reading: Plan,
        evidence: Evidence,
        show: Show,
        *,
        map_task: str | None = None,
        keep: bool = True,
    ) -> Answer:
        """The answer to a task; over several windows notes are taken first, then merged.

        `map_task` is what each window is asked (the task itself if None).  Only the final text
        goes to `show`.  Without `keep` nothing is saved: notes are of one task alone.
        """
        if len(reading.windows) == 1:
            return self.answer(reading.windows[0], task, evidence, show, keep=keep)
        notes: list[Answer] = []
        asked = map_task or task
        prompts = [self.reader.prompt(window, asked) for window in reading.windows]
        if self.saving is not None and keep:
            self.saving.expect(self.engine, [prompt.shared for prompt in prompts])
        windows = zip(reading.windows, prompts, strict=True)
        for number, (window, prompt) in enumerate(windows, 1):
            label = f"window {number}/{len(reading.windows)}"
            note = self.answer(window, asked, evidence, _silent, prompt, label=label, keep=keep)
            if note.found and note.text.strip():
                notes.append(note)
        if not notes:
            show(NOT_FOUND)
            return Answer(NOT_FOUND, (), complete=True)
        if len(notes) == 1 and map_task is None:
            show(notes[0].text)
            return notes[0]
        document = notes_document(notes, evidence, self.reader.style)
        merged = plan(
            document, task, self.reader, reading.limit, "windows", context=reading.context
        )
        if not document.parts or len(merged.windows) >= len(reading.windows):
            return _joined(notes, show)  # merging again would not make it shorter
        answer = self.run(task, merged, evidence, show, map_task=map_task, keep=False)
        if not answer.found:
            logger.warning(
                "%d windows gave passages in which no answer was found when they were merged%s",
                len(notes), _places(notes),
            )  # fmt: skip
        return answer

    def answer(
        self,
        document: Document,
        task: str,
        evidence: Evidence,
        show: Show,
        prompt: Prompt | None = None,
        *,
        label: str = "",
        keep: bool = True,
    ) -> Answer:
        """Prefills one prompt that fits and generates, checking references on the way.

        `prompt` is that of the task on the document, if it is known already.
        """
        prompt = prompt or self.reader.prompt(document, task)
        cache = self.room(len(prompt.ids) + self.params.max_tokens)
        started = time.monotonic()
        self.reporter.phase("prefill", len(prompt.ids), "tokens")
        if self.saving is None or not keep:
            logits = self.read_on(prompt.ids, cache, label=label)
        else:
            self.read_document(self.saving, document, prompt.shared, cache, label=label)
            logits = self.read_on(prompt.task, cache, label=label)
        self.reporter.finish()
        self.usage.prefill_s += time.monotonic() - started
        self.usage.input_tokens += len(prompt.ids)
        guide = self.guide(document, task, evidence)
        return self.generate(cache, logits, prompt.ids, evidence, show, guide)

    def read_document(
        self,
        saving: Saving,
        document: Document,
        ids: Sequence[int],
        cache: HybridCache,
        *,
        label: str = "",
    ) -> Tensor:
        """Reads what comes before a task, from a saved context as far as there is one."""
        logits = saving.prefill(
            self.engine,
            document,
            ids,
            cache,
            chunk_tokens=self.chunk_tokens,
            on_chunk=self._on_chunk(0, label),
            label=label,
        )
        reused = saving.account.readings[-1].reused
        self.reporter.advance(len(ids), reused=reused, label=label)
        return logits

    def read_on(self, ids: Sequence[int], cache: HybridCache, *, label: str = "") -> Tensor:
        """Reads more on top of what the cache holds."""
        return self.engine.prefill(
            ids,
            cache,
            chunk_tokens=self.chunk_tokens,
            on_chunk=self._on_chunk(cache.position, label),
        )

    def _on_chunk(self, before: int, label: str) -> OnChunk:
        def tell(done: int, _total: int, state: HybridCache) -> None:
            self.reporter.advance(
                before + done,
                state_bytes=state.ssm_nbytes,
                kv_bytes=state.kv_nbytes_used,
                label=label,
            )

        return tell

    def guide(self, document: Document, task: str, evidence: Evidence) -> Guide | None:
        """What keeps a quoting model to the document's words; None for other models."""
        if self.reader.style != "quote":
            return None
        form = answer_form(document, task, lambda text: bool(evidence.find(text)))
        return QuoteGuide(
            form,
            self.reader.tokenizer.encode_many,
            self.reader.stop_ids,
            look_ahead=self.params.temperature == 0,
        )

    def generate(
        self,
        cache: HybridCache,
        logits: Tensor,
        prompt_ids: Sequence[int],
        evidence: Evidence,
        show: Show,
        guide: Guide | None,
    ) -> Answer:
        """The answer to the prompt that the cache holds, checked against the evidence."""
        started = time.monotonic()
        checker = AnswerChecker(evidence, style=self.reader.style)
        stream = self.reader.tokenizer.stream(self.params.stop)
        thinking = ThinkingFilter(inside=self.reader.chat.starts_in_thought)
        texts: list[str] = []

        def put(text: str) -> None:
            if text:
                texts.append(text)
                show(text)

        self.reporter.phase("decode", None, "tokens")
        complete = False
        count = 0
        self.generated = []
        for token in self.engine.generate(
            cache,
            logits,
            self.params,
            stop_ids=self.reader.stop_ids,
            prompt_ids=prompt_ids,
            guide=guide,
        ):
            if self.usage.first_token_s is None:
                self.usage.first_token_s = time.monotonic() - self.usage.started
            count += 1
            self.generated.append(token.id)
            self.reporter.advance(count)
            put(checker.push(thinking.push(stream.push(token.id))[1]))
            if token.is_stop or stream.stopped:
                complete = True
                break
        rest = thinking.push(stream.flush())[1] + thinking.flush()[1]
        put(checker.push(rest) + checker.flush())
        self.reporter.finish()
        self.usage.decode_s += time.monotonic() - started
        self.usage.generated_tokens += count
        return Answer("".join(texts), tuple(checker.references), complete)

    def room(self, tokens: int) -> HybridCache:
        """An empty cache for at least this many tokens; the one at hand if it is large enough."""
        if self.cache is None or self.cache.max_tokens < tokens:
            self.cache = None  # freed before the larger one is allocated
            self.cache = self.engine.new_cache(tokens)
        self.cache.reset()
        return self.cache


def _silent(_text: str) -> None:
    """Shows nothing."""


def _places(notes: Sequence[Answer]) -> str:
    """Where what the notes quote stands, the first few, behind a colon."""
    references = [each for note in notes for each in note.references]
    places = list(dict.fromkeys(each.found_at or each.target for each in references))
    more = [f"and {len(places) - PLACES_NAMED} more"] if len(places) > PLACES_NAMED else []
    named = [f"[{place}]" for place in places[:PLACES_NAMED]] + more
    return ": " + ", ".join(named) if named else ""


def _joined(notes: Sequence[Answer], show: Show) -> Answer:
    text = "\n".join(note.text.strip() for note in notes) + "\n"
    show(text)
    references = tuple(reference for note in notes for reference in note.references)
    return Answer(text, references, all(note.complete for note in notes))


def notes_document(notes: Sequence[Answer], evidence: Evidence, style: str) -> Document:
    """What several windows noted, as a document to be read in turn.

    Quotes keep the reference of the place where they stand; notes in prose keep the references
    that are written in them.
    """
    if style != "quote":
        return Document(
            tuple(Part(f"notes-{i}", note.text.strip()) for i, note in enumerate(notes, 1))
        )
    parts: dict[tuple[str, int, str], Part] = {}
    for note in notes:
        for reference in note.references:
            if not reference.status.verified or reference.quote is None:
                continue
            place = evidence.find(reference.quote)[0]
            part = replace(place.part, text=reference.quote, first_line=place.line)
            parts.setdefault(
                (part.path, part.page or part.cell or part.first_line, part.text), part
            )
    return Document(tuple(parts.values()), metadata=evidence.document.metadata)
