"""Reads a document ahead of time: prefill alone, saved under its content and, if wanted, a name."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import chdir
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from jamba_cli.contexts.opening import Opened, context_name, find_saved, kept_settings
from jamba_cli.contexts.origin import Origin
from jamba_cli.contexts.saving import Saving, open_store
from jamba_cli.human import format_bytes, format_seconds
from jamba_cli.output import Output
from jamba_cli.passwords import password_source
from jamba_cli.reader import Reader
from jamba_cli.reading import read_document
from jamba_cli.session import Session
from jamba_cli.sources.document import Document
from jamba_cli.sources.names import plural
from jamba_cli.sources.options import ReadOptions
from jamba_cli.task_run import load_engine, plan_reading
from jamba_cli.terminal import visible
from jamba_cli.windows import ANSWER_TOKENS, Plan
from runtime.errors import InputError, JambaError, UsageError

if TYPE_CHECKING:
    from runtime.contexts import ContextStore, Planned

NOMINAL_TASK = "\n\nQuestion: " + "what? " * 16
"""A question of usual length: what is ingested is cut into windows as that question would be."""


@dataclass(frozen=True, slots=True)
class Ingested:
    """What is kept now: context ids in order, and what it took."""

    name: str | None
    ids: tuple[str, ...]
    tokens: int
    nbytes: int
    elapsed_s: float


def ingest(opened: Opened, name: str | None) -> Ingested:
    """Reads, saves, names and says what is kept where."""
    run = opened.run
    if not run.settings.save:
        raise UsageError(
            "ingest saves what it reads, and saving is switched off",
            hint=f"it is the {run.settings.origins.get('save')} that says so; ask reads without",
        )
    from runtime.contexts.names import check

    name = None if name is None else check(name.removeprefix("@"))
    started = time.monotonic()
    document = opened.read()
    answer = run.settings.max_tokens or ANSWER_TOKENS  # as ask would have it
    reading = plan_reading(document, NOMINAL_TASK, opened.reader, run, answer)
    saving = Saving(run.settings, opened.reader, run.output, opened.origin, min_tokens=1)
    _read_windows(opened, reading, saving)
    ids = tuple(saving.account.ids)
    nbytes = _saved_nbytes(ids, len(reading.windows), saving.store)
    if name is not None:
        saving.store.set_name(name, ids, _info(opened, reading, document.outline))
    tokens = sum(one.tokens for one in saving.account.readings)
    done = Ingested(name, ids, tokens, nbytes, time.monotonic() - started)
    _report(done, reading, saving, run)
    return done


def _read_windows(opened: Opened, reading: Plan, saving: Saving) -> None:
    from jamba_cli.answering import Answerer
    from runtime.sampling import SamplingParams

    run, reader = opened.run, opened.reader
    answerer = Answerer(
        load_engine(reader, run, reading.context), reader, run.reporter, SamplingParams(),
        chunk_tokens=run.settings.chunk_tokens, saving=saving,
    )  # fmt: skip
    windows = [(window, reader.prompt(window, "").shared) for window in reading.windows]
    _check_room(saving.plan(answerer.engine, windows, run.settings.chunk_tokens), saving.store)
    for number, (window, ids) in enumerate(windows, 1):
        label = f"window {number}/{len(windows)}" if len(windows) > 1 else ""
        run.reporter.phase("prefill", len(ids), "tokens")
        answerer.read_document(saving, window, ids, answerer.room(len(ids)), label=label)
        run.reporter.finish()


def _check_room(wanted: Sequence[Planned], store: ContextStore) -> None:
    """Raises JambaError, before anything is read, if all of it can't be kept at a time."""
    whole = {one.id for one in store.contexts() if one.complete and not one.problem}
    if all(one.id in whole for one in wanted):
        return
    store.check_writable()
    needed = sum(one.nbytes for one in wanted)
    if needed <= store.quota_bytes:
        return
    several = f" in {len(wanted)} windows" if len(wanted) > 1 else ""
    raise JambaError(
        f"saving this takes {format_bytes(needed)}{several}, more than the quota for saved "
        f"contexts, {format_bytes(store.quota_bytes)}",
        hint=f"give it more, with JAMBA_CONTEXT_QUOTA={_as_setting(needed)} or context_quota in "
        "config.toml; or ingest fewer files or pages",
    )


def _as_setting(nbytes: int) -> str:
    """At least so many bytes and about a tenth more, as a setting."""
    unit, size = ("G", 10**9) if nbytes >= 10**10 else ("M", 10**6)
    return f"{-(-11 * nbytes // (10 * size))}{unit}"


def _saved_nbytes(ids: Sequence[str], windows: int, store: ContextStore) -> int:
    """What the contexts of all windows take; raises JambaError if one is not there."""
    if len(ids) != windows:
        raise JambaError(
            "not everything could be saved; see the warnings above",
            hint="free some space and give the same command again: it goes on where it stopped",
        )
    there = {one.id: one.nbytes for one in store.contexts() if one.complete and not one.problem}
    if missing := set(ids) - there.keys():
        raise JambaError(
            f"{len(missing)} of {plural(windows, 'context')} just saved are gone again: another "
            "process removed them",
            hint="give the same command again: it reads only what is missing",
        )
    return sum(there[one] for one in ids)


def _info(opened: Opened, reading: Plan, outline: str) -> dict[str, object]:
    """What is kept with a name: how to read the sources again, and with what."""
    return {
        "model": opened.reader.ref,
        "scheme": opened.run.settings.scheme,
        "context": reading.context,
        "over_budget": opened.run.settings.over_budget,
        "outline": outline,
        "dropped": list(reading.dropped),
        "origin": None if opened.origin is None else opened.origin.as_json(),
    }


def _report(done: Ingested, reading: Plan, saving: Saving, run: Session) -> None:
    output, account = run.output, saving.account
    output.note(account.line(done.tokens))
    if output.json:
        output.result(
            {
                "schema_version": 1,
                "command": "ingest",
                "name": done.name,
                "tokens": {"input": done.tokens, "reused": account.reused},
                "context": account.as_json(done.tokens),
                "windows": len(reading.windows),
                "dropped": list(reading.dropped),
                "bytes": done.nbytes,
                "elapsed_s": round(done.elapsed_s, 3),
                "warnings": output.warnings,
            }
        )
        return
    shown = f"@{done.name}" if done.name else " ".join(f"@{one}" for one in done.ids)
    windows = f" in {plural(len(done.ids), 'window')}" if len(done.ids) > 1 else ""
    output.line(
        f"{shown}: {done.tokens:,} tokens{windows}, {format_bytes(done.nbytes)}, "
        f"{format_seconds(done.elapsed_s)}"
    )
    _say_next(done, output)


def _say_next(done: Ingested, output: Output) -> None:
    if done.name or len(done.ids) == 1:
        ref = done.name or done.ids[0]
        output.note(f'ask it: jamba ask @{ref} "QUESTION"')


def update(
    ref: str,
    sources: Sequence[str] | None,
    how: ReadOptions,
    run: Session,
    *,
    name: str | None,
    strict: bool,
) -> None:
    """Reads the sources of a named context again; what it replaces is removed."""
    wanted = context_name([ref if ref.startswith("@") else f"@{ref}"])
    if sources or name or replace(how, password=ReadOptions().password) != ReadOptions():
        raise UsageError(
            "--update reads the same sources in the same way, so it takes neither sources, "
            "--name nor options of reading",
            hint="to read something else under this name: jamba ingest SRC... --name NAME",
        )
    assert wanted is not None
    store = open_store(run.settings)
    saved = find_saved(store, wanted)
    origin = Origin.from_json(saved.info.get("origin") or {})
    if "-" in origin.arguments:
        raise UsageError(
            f"@{wanted} was read from standard input, which is gone",
            hint=f"pipe it in again: ... | jamba ingest - --name {wanted}",
        )
    password = password_source(
        run.output, None if origin.password_file is None else Path(origin.password_file)
    )
    again = origin.read_options(replace(how, password=password))
    run = replace(run, settings=kept_settings(saved.info, run))

    def read() -> Document:
        if not Path(origin.directory).is_dir():
            raise InputError(
                f"@{wanted} was read in {visible(origin.directory)}, which is gone",
                hint=f"read it from where it is now: jamba ingest SRC... --name {wanted}",
            )
        with chdir(origin.directory):  # so that relative sources and shown paths are the same
            return read_document(origin.arguments, again, run.output, run.reporter, strict=strict)

    named = wanted in {one.name for one in store.names()}
    before = [one.id for one in saved.contexts]
    opened = Opened(run, Reader(run.settings.model), read, origin)
    now = ingest(opened, wanted if named else None)
    _remove_replaced([one for one in before if one not in now.ids], store)


def _remove_replaced(before: Sequence[str], store: ContextStore) -> None:
    """Removes the contexts that were read anew, unless they are still what some name stands for."""
    named = {one for entry in store.names() for one in entry.ids}
    here = {context.id for context in store.contexts()}
    for one in before:
        if one in here and one not in named:
            store.remove(one)
