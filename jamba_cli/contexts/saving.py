"""Reads a document's prompt through the store of saved contexts, and keeps the account of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypedDict

from jamba_cli.contexts.marks import Place, places
from jamba_cli.contexts.origin import Origin, source_records
from jamba_cli.output import Output
from jamba_cli.reader import Reader
from jamba_cli.settings import Settings, contexts_path
from jamba_cli.sources.document import Document
from jamba_cli.sources.saved import to_json
from runtime.errors import JambaError

if TYPE_CHECKING:
    from torch import Tensor

    from runtime.cache import HybridCache
    from runtime.contexts import ContextStore, Mark, Planned
    from runtime.engine import Engine, OnChunk


class _Described(TypedDict):
    """What is saved with a prompt beside its states."""

    marks: tuple[Mark, ...]
    info: dict[str, Any]
    attachments: dict[str, bytes]


DOCUMENT = "document.json"
"""The attachment with the document, so that it can be asked without its sources."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How one prompt was read: its tokens, and how many of them came from a saved context."""

    tokens: int
    reused: int
    checkpoint: str = ""
    context_id: str | None = None


@dataclass(slots=True)
class Account:
    """What a run read, and what of it was re-used."""

    readings: list[Reading] = field(default_factory=list)
    save_s: float = 0.0
    reason: str = ""  # why nothing was saved; "" if it was

    @property
    def reused(self) -> int:
        """Tokens that did not have to be computed."""
        return sum(reading.reused for reading in self.readings)

    @property
    def ids(self) -> list[str]:
        """The contexts that now hold what was read, in order."""
        return [reading.context_id for reading in self.readings if reading.context_id]

    @property
    def checkpoint(self) -> str:
        """The name of the place where the last re-used part ends, "" if it has none."""
        return next((r.checkpoint for r in reversed(self.readings) if r.reused), "")

    def line(self, tokens: int) -> str:
        """The line that every run says; `tokens` are those of all its prompts."""
        text = f"context: re-used {self.reused:,} of {tokens:,} tokens"
        if self.checkpoint:
            text += f" (checkpoint at {self.checkpoint})"
        text += f", computed {tokens - self.reused:,}"
        return f"{text}; not saved: {self.reason}" if self.reason else text

    def as_json(self, tokens: int) -> dict[str, Any]:
        """The object `context` of a JSON result; `tokens` are those of all prompts."""
        return {
            "reused": self.reused,
            "computed": tokens - self.reused,
            "checkpoint": self.checkpoint or None,
            "ids": self.ids,
            "saved": bool(self.ids) and not self.reason,
            "reason": self.reason or None,
            "save_s": round(self.save_s, 3),
        }


def open_store(settings: Settings) -> ContextStore:
    """The store of this user."""
    from runtime.contexts import ContextStore

    return ContextStore(contexts_path(), quota_bytes=settings.context_quota)


class Saving:
    """Prefills documents: what a saved context holds is restored, what is new is saved."""

    def __init__(
        self,
        settings: Settings,
        reader: Reader,
        output: Output,
        origin: Origin | None,
        *,
        min_tokens: int | None = None,
        keep: Collection[str] = (),
    ) -> None:
        """`min_tokens` is the length of the shortest prompt that is saved, None the usual one.

        The contexts in `keep`, and those that this run saves, are never removed to make room.
        """
        self.store = open_store(settings)
        self.account = Account()
        self._settings = settings
        self._reader = reader
        self._output = output
        self._origin = origin
        self._min_tokens = min_tokens
        self._keep = set(keep)
        self._warned: set[str] = set()

    def plan(
        self,
        engine: Engine,
        windows: Sequence[tuple[Document, Sequence[int]]],
        chunk_tokens: int | None,
    ) -> list[Planned]:
        """What reading these windows will save; none of it makes room for another from now on."""
        from runtime.contexts import planned

        found: dict[str, Planned] = {}
        for document, ids in windows:
            one = planned(engine, ids, chunk_tokens=chunk_tokens, **self._described(document, ids))
            found[one.id] = one
        self._keep |= found.keys()
        return list(found.values())

    def expect(self, engine: Engine, windows: Sequence[Sequence[int]]) -> None:
        """Says what is going to be read: none of it makes room for another from now on."""
        from runtime.contexts import context_id, identify

        identity = identify(engine)
        self._keep |= {context_id(identity, ids) for ids in windows}

    def _described(self, document: Document, ids: Sequence[int]) -> _Described:
        found = places(document, ids, self._reader.tokenizer, style=self._reader.style)
        return {
            "marks": _as_marks(found),
            "info": {
                "model": self._reader.ref,
                "origin": None if self._origin is None else self._origin.as_json(),
                "sources": source_records(document, found, len(ids)),
            },
            "attachments": {DOCUMENT: to_json(document)},
        }

    def prefill(
        self,
        engine: Engine,
        document: Document,
        ids: Sequence[int],
        cache: HybridCache,
        *,
        chunk_tokens: int | None,
        on_chunk: OnChunk,
        label: str = "",
    ) -> Tensor:
        """Fills the empty cache with the tokens up to the document's end; the last one's logits.

        `label` says which of several windows this is.
        """
        from runtime.contexts import MIN_TOKENS, prefill_saved

        shortest = self._min_tokens or MIN_TOKENS
        self._output.if_stopped = self._how_to_go_on(engine, ids, label)
        done = prefill_saved(
            engine,
            ids,
            cache,
            self.store,
            **self._described(document, ids),
            chunk_tokens=chunk_tokens,
            on_chunk=on_chunk,
            on_wait=lambda: self._output.note(
                "another jamba reads the same document: waiting for it"
            ),
            save=self._settings.save,
            min_tokens=shortest,
            keep=self._keep,
        )
        self._output.if_stopped = None
        for note in done.notes:
            if note not in self._warned:  # several windows may have the same trouble
                self._output.warning(note)
        self._warned |= set(done.notes)
        if done.context_id is not None:
            self._keep.add(done.context_id)
        else:
            self.account.reason = self._why_not(len(ids), shortest)
        self.account.save_s += done.save_s
        self.account.readings.append(
            Reading(len(ids), done.reused, done.checkpoint, done.context_id)
        )
        return done.logits

    def _why_not(self, tokens: int, shortest: int) -> str:
        """Why a prompt was not saved."""
        if not self._settings.save:
            return f"switched off by the {self._settings.origins.get('save', 'settings')}"
        return f"shorter than {shortest:,} tokens" if tokens < shortest else "see the warning"

    def _how_to_go_on(self, engine: Engine, ids: Sequence[int], label: str) -> Callable[[], str]:
        """What to say when reading is stopped: where the same command goes on."""

        def text() -> str:
            from runtime.contexts import identify

            match = None
            with suppress(JambaError):  # a warning has said that the folder can't be read
                match = self.store.longest(identify(engine), ids)
            kept = 0 if match is None else match.tokens
            if not kept and not self.account.ids:
                return ""
            of = f" of {label}" if label else ""
            return f"the same command continues at token {kept:,} of {len(ids):,}{of}"

        return text


def _as_marks(found: Sequence[Place]) -> tuple[Mark, ...]:
    from runtime.contexts import Mark

    return tuple(Mark(place.position, place.label) for place in found)
