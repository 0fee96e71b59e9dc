"""Reads a prompt, going on from what is saved of it, and saves what it had to compute."""

from __future__ import annotations

import time
from array import array
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from runtime.cache import HybridCache
from runtime.contexts import checkpoints, estimate, upkeep, writer
from runtime.contexts.hashing import DamagedError, prefix_hashes
from runtime.contexts.identity import identify
from runtime.contexts.layout import costs, layout
from runtime.contexts.locks import OnWait, locked, try_locked
from runtime.contexts.reader import SegmentError, restore
from runtime.contexts.records import Found, Identity, Mark, Match, Planned, Prefilled
from runtime.contexts.store import ContextStore, context_id
from runtime.contexts.transfer import Transfer, transfer_for
from runtime.contexts.writer import ContextWriter, Draft
from runtime.engine import Engine, OnChunk
from runtime.errors import JambaError

MIN_TOKENS = 1_024
"""Prompts shorter than this are read again sooner than they are worth their space."""

_Described = tuple[Mapping[str, Any], Mapping[str, bytes]]
"""Info and attachments."""


def prefill_saved(
    engine: Engine,
    ids: Sequence[int],
    cache: HybridCache,
    store: ContextStore,
    *,
    marks: Sequence[Mark] = (),
    info: Mapping[str, Any] | None = None,
    attachments: Mapping[str, bytes] | None = None,
    chunk_tokens: int | None = None,
    on_chunk: OnChunk | None = None,
    on_wait: OnWait | None = None,
    save: bool = True,
    min_tokens: int = MIN_TOKENS,
    keep: Collection[str] = (),
) -> Prefilled:
    """Reads a whole prompt into the cache, which is emptied first and ends at `len(ids)`.

    What the store has of the prompt is restored, the rest computed and saved beside it, unless
    `save` is off or the prompt is short.  `on_chunk` counts restored tokens as done; `on_wait` is
    called when another process is reading the same prompt.  The contexts in `keep` are not removed
    to make room: what does not fit beside them is not saved.  Whatever is wrong with the store ends
    up in the notes, never in an error.  Raises BudgetError when the prompt does not fit the
    cache, JambaError for a model without files.
    """
    cache.reset()
    engine.check_room(cache, len(ids))
    ids = array("i", ids)  # they are hashed and compared several times: fast as numbers in a row
    reading = _Reading(
        engine, ids, cache, store, identify(engine), marks, chunk_tokens, on_chunk, frozenset(keep)
    )
    described = (info or {}, attachments or {})
    found = reading.lookup()
    exact = [each for each in found.matches if each.tokens == len(ids)]
    own = [each for each in exact if each.context.id == reading.id]
    to_save = save and len(ids) >= min_tokens
    if own or (exact and not to_save):
        match, logits = reading.restore(own or exact)
        if logits is not None:
            assert match is not None
            if own and save and info is not None:
                reading.redescribe(match, described)
            return reading.result(logits, match, match.context.id)
    with ExitStack() as held:
        saving = to_save and reading.lock(held, on_wait)
        return reading.run(held, described if saving else None)


def planned(
    engine: Engine,
    ids: Sequence[int],
    *,
    marks: Sequence[Mark] = (),
    info: Mapping[str, Any] | None = None,
    attachments: Mapping[str, bytes] | None = None,
    chunk_tokens: int | None = None,
) -> Planned:
    """What `prefill_saved` would save of this prompt if the store had nothing of it yet."""
    cache = HybridCache.create(
        engine.config, len(ids), device=torch.device("meta"), dtype=engine.model.activation_dtype
    )  # shapes alone: it takes no memory
    stops = _stops(engine, cache, len(ids), marks, chunk_tokens)
    segments = estimate.planned_segments(cache, 0, stops, engine.config.vocab_size)
    identity = identify(engine)
    nbytes = estimate.written_nbytes(identity, None, segments, info or {}, attachments or {})
    return Planned(context_id(identity, ids), nbytes)


def _stops(
    engine: Engine,
    cache: HybridCache,
    total: int,
    marks: Sequence[Mark],
    chunk_tokens: int | None,
) -> dict[int, str]:
    """Where a prompt of `total` tokens has its checkpoints, from where the cache is."""
    token_bytes, state_bytes = costs(cache)
    return checkpoints.choose(
        total,
        marks,
        start=cache.position,
        kv_bytes_per_token=token_bytes,
        state_bytes=state_bytes,
        chunk_tokens=chunk_tokens or engine.chunk_tokens,
    )


@dataclass(slots=True)
class _Reading:
    """One prompt on its way into one cache."""

    engine: Engine
    ids: Sequence[int]
    cache: HybridCache
    store: ContextStore
    identity: Identity
    marks: Sequence[Mark]
    chunk_tokens: int | None
    on_chunk: OnChunk | None
    keep: frozenset[str]
    notes: list[str] = field(default_factory=list)
    save_s: float = 0.0
    _bad: set[tuple[str, bool]] = field(default_factory=set)
    transfer: Transfer = field(init=False)
    id: str = field(init=False)

    def __post_init__(self) -> None:
        self.transfer = transfer_for(self.engine.device)
        self.id = context_id(self.identity, self.ids)

    def lookup(self) -> Found:
        """What the store has of the prompt: nothing, and why, where it can't be read."""
        try:
            return self.store.lookup(self.identity, self.ids)
        except JambaError as error:
            return Found((), (error.message,))

    def lock(self, held: ExitStack, on_wait: OnWait | None) -> bool:
        """Becomes the writer of this context; False, with a note, where nothing can be written."""
        try:
            held.enter_context(locked(self.store.lock_path(self.id), on_wait))
        except OSError as error:
            self.notes.append(f"not saved: {self.store.root}: {_why(error)}")
            return False
        return True

    def run(self, held: ExitStack, described: _Described | None) -> Prefilled:
        """Restores what there is and computes the rest; saves it, under the lock, if described."""
        found = self.lookup()
        self.notes += found.notes
        match, logits = self.restore(found.matches)
        if logits is not None:  # a longer text begins so, or another process has just finished it
            assert match is not None
            saved: str | None = match.context.id
            if described is not None and saved != self.id:
                saved = self._link(match, described)
            return self.result(logits, match, saved)
        stops = _stops(self.engine, self.cache, len(self.ids), self.marks, self.chunk_tokens)
        saving = None if described is None else self._begin(held, match, stops, described)
        with saving or nullcontext():
            logits = self._compute(stops, saving)
        saved = None
        if saving is not None:
            self.save_s += saving.waited_s
            self.notes += [saving.note] if saving.note else []
            saved = self.id if saving.manifest.complete else None
        return self.result(logits, match, saved)

    def restore(self, matches: Sequence[Match]) -> tuple[Match | None, Tensor | None]:
        """The longest match that is sound, and the logits that it holds, on the device."""
        for match in matches:
            if self._known_bad(match):
                continue
            logits = torch.empty(self.engine.config.vocab_size)
            try:
                restore(match, self.ids, self.cache, self.transfer, logits)
            except SegmentError as error:
                self._bad.add((error.key, error.states))
                self.notes.append(f"saved context {match.context.id} is not used: {error}")
                continue
            self.store.touch(match.context)
            if match.tokens < len(self.ids):
                return match, None
            return match, logits.to(self.engine.device)
        return None, None

    def _known_bad(self, match: Match) -> bool:
        keys = [each.checksum for each in match.segments]
        last = match.segments[-1].state_checksum
        return any((key, False) in self._bad for key in keys) or (last, True) in self._bad

    def redescribe(self, match: Match, described: _Described) -> None:
        """Lets a finished context be described as the newest run does, if nobody else writes."""
        try:
            with try_locked(self.store.lock_path(match.context.id)) as free:
                if free:
                    writer.redescribe(match.context.path, *described)
        except (OSError, DamagedError) as error:
            self.notes.append(f"saved context {match.context.id} was not updated: {_why(error)}")

    def _begin(
        self,
        held: ExitStack,
        match: Match | None,
        stops: Mapping[int, str],
        described: _Described,
    ) -> ContextWriter | None:
        started = time.monotonic()
        start, vocab_size = self.cache.position, self.engine.config.vocab_size
        segments = estimate.planned_segments(self.cache, start, stops, vocab_size)
        folder = self.store.root / self.id
        try:
            needed = estimate.added_nbytes(folder, self.identity, match, segments, *described)
            own = {self.id, match.context.id} if match else {self.id}
            room = upkeep.make_room(self.store, needed, own, beside=self.keep - {self.id})
            self.notes += room.notes
            if not room.made:
                return None
            manifest = writer.begin(folder, self.identity, len(self.ids), match, *described)
        except (OSError, JambaError) as error:
            self.notes.append(f"not saved: {folder}: {_why(error)}")
            return None
        finally:
            self.save_s += time.monotonic() - started
        return ContextWriter(folder, manifest, self.transfer, held)

    def _link(self, match: Match, described: _Described) -> str | None:
        """Makes a context of its own of the beginning of another one; no state is written again."""
        folder = self.store.root / self.id
        try:
            writer.begin(folder, self.identity, len(self.ids), match, *described, complete=True)
        except OSError as error:
            self.notes.append(f"not saved: {folder}: {_why(error)}")
            return None
        return self.id

    def _compute(self, stops: Mapping[int, str], saving: ContextWriter | None) -> Tensor:
        """Reads what is left, handing over a segment at each stop."""
        start, total = self.cache.position, len(self.ids)
        hashes = prefix_hashes(self.ids, stops) if saving is not None else {}
        ends = iter(sorted(stops))
        before = start

        def segment(end: int, logits: Tensor | None) -> None:
            nonlocal before
            if saving is None:
                return
            own = torch.tensor(self.ids[before:end], dtype=torch.int32)
            part = layout(self.cache, own, before, end, logits)
            frozen = self.transfer.freeze(part)
            saving.hand_over(Draft(frozen, hashes[end], stops[end], logits is not None))
            before = end

        wanted = next(ends)

        def after_chunk(done: int, _total: int, cache: HybridCache) -> None:
            nonlocal wanted
            if start + done == wanted < total:
                segment(wanted, None)
                wanted = next(ends)
            if self.on_chunk is not None:
                self.on_chunk(start + done, total, cache)

        logits = self.engine.prefill(
            self.ids[start:],
            self.cache,
            chunk_tokens=self.chunk_tokens,
            stops=stops.keys(),
            on_chunk=after_chunk,
        )
        segment(total, logits)
        return logits

    def result(self, logits: Tensor, match: Match | None, saved: str | None) -> Prefilled:
        """What the caller is told."""
        reused = match.tokens if match is not None else 0
        return Prefilled(
            logits=logits,
            reused=reused,
            computed=len(self.ids) - reused,
            checkpoint=match.label if match is not None else "",
            context_id=saved,
            notes=tuple(dict.fromkeys(self.notes)),
            save_s=self.save_s,
        )


def _why(error: Exception) -> str:
    """An error in words, without the path that the line around it has."""
    return (isinstance(error, OSError) and error.strerror) or str(error)
