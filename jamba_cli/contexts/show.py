"""Shows saved contexts: as a table, one in full, or what a check of them found."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jamba_cli.contexts.opening import Saved, find_saved
from jamba_cli.contexts.remove import note_other_format
from jamba_cli.contexts.saving import open_store
from jamba_cli.human import format_age, format_bytes
from jamba_cli.output import Output
from jamba_cli.session import Session
from jamba_cli.settings import contexts_path
from jamba_cli.sources.names import plural
from runtime.errors import JambaError

if TYPE_CHECKING:
    from runtime.contexts import Context, ContextStore


def show_list(run: Session) -> None:
    """The table of `jamba contexts`."""
    store = open_store(run.settings)
    found = store.contexts()
    broken = [saved for named in store.names() if (saved := Saved.of(named, found)).missing]
    if run.output.json:
        run.output.result(
            {
                "schema_version": 1,
                "command": "contexts",
                "path": str(contexts_path()),
                "quota_bytes": run.settings.context_quota,
                "names": {named.name: list(named.ids) for named in store.names()},
                "missing": {saved.ref: list(saved.missing) for saved in broken},
                "contexts": [as_json(context) for context in found],
            }
        )
        return
    if not found and not broken:
        run.output.note("nothing is saved yet: ask, summarize and ingest do it")
        return
    now = time.time()
    rows = [
        (
            context.id,
            " ".join(f"@{name}" for name in context.names) or "-",
            f"{context.saved_tokens:,}",
            format_bytes(context.nbytes),
            format_age(now - context.used),
            _model(context.info),
            _sources(context.info) + _trouble(context),
        )
        for context in found
    ]
    rows += [
        ("-", f"@{saved.ref}", "-", "-", "-", _model(saved.info), _sources(saved.info) + lost)
        for saved in broken
        if (lost := f" [{saved.gone}: {saved.again}]")
    ]
    styles = [*map(_style, found), *("red" for _ in broken)]
    headers = ("id", "name", "tokens", "on disk", "used", "model", "sources")
    run.output.table(headers, rows, "<<>>><<", styles=styles)


def show_one(ref: str, run: Session) -> None:
    """Everything about a context, or about each of those that a name stands for.

    Raises JambaError behind what there is if a part of it is not there any more.
    """
    store = open_store(run.settings)
    saved = find_saved(store, ref.removeprefix("@"))
    if run.output.json:
        listed = [as_json(context) for context in saved.contexts]
        run.output.result(
            {
                "schema_version": 1,
                "command": "contexts show",
                "contexts": listed,
                "missing": list(saved.missing),
            }
        )
    else:
        for context in saved.contexts:
            _show(context, saved.again, run.output)
    saved.check()


def _show(context: Context, again: str, output: Output) -> None:
    now = time.time()
    output.line(context.id, "bold")
    state = "complete" if context.complete else "not finished: the same command goes on from here"
    for label, text in (
        ("names", " ".join(f"@{name}" for name in context.names)),
        ("state", context.problem or state),
        ("renew", again if context.problem else ""),
        ("tokens", f"{context.saved_tokens:,} of {context.tokens:,}"),
        ("go on at", ", ".join(f"{segment.end:,}" for segment in context.segments)),
        ("on disk", f"{format_bytes(context.nbytes)}, {context.path}"),
        ("model", _model(context.info)),
        ("scheme", _scheme(context) or ""),
        ("numerics", context.identity.numerics if context.identity else ""),
        ("made", format_age(now - context.created)),
        ("used", format_age(now - context.used)),
        ("typed", _sources(context.info)),
        ("in", str((context.info.get("origin") or {}).get("directory", ""))),
    ):
        if text:
            output.line(f"  {label:<9} {text}")
    records: Sequence[Mapping[str, Any]] = context.info.get("sources", [])
    if not records:
        return
    rows = [
        (f"{span[0]:,}" if (span := one.get("tokens")) else "-", one["sha256"][:12], one["path"])
        for one in records
    ]
    output.line()
    output.table(("at token", "sha256", "source"), rows, "><<")


def verify(refs: Sequence[str], run: Session) -> None:
    """Checks contexts against their checksums; raises JambaError if one is damaged."""
    store = open_store(run.settings)
    chosen = _chosen(store, refs)
    problems = {context.id: store.verify(context) for context in chosen}
    other = [context for context in chosen if context.other_format]
    damaged = [one for one in chosen if problems[one.id] and not one.other_format]
    if run.output.json:
        listed = [{"id": one.id, "problems": problems[one.id]} for one in chosen]
        run.output.result({"schema_version": 1, "command": "contexts verify", "contexts": listed})
    else:
        for one in chosen:
            said = "; ".join(problems[one.id]) or "sound"
            run.output.line(f"{one.id}  {said}", "red" if one in damaged else None)
    note_other_format(other, run.output)
    if damaged:
        raise JambaError(
            f"{len(damaged)} of {plural(len(chosen), 'context')} damaged",
            hint="damaged parts are never used; to remove: jamba contexts rm "
            + " ".join(one.id for one in damaged),
        )


def _chosen(store: ContextStore, refs: Sequence[str]) -> list[Context]:
    if not refs:
        return list(store.contexts())
    saved = [find_saved(store, ref.removeprefix("@")) for ref in refs]
    for each in saved:
        each.check()
    return list({one.id: one for each in saved for one in each.contexts}.values())


def show_path(run: Session) -> None:
    """The folder."""
    path = str(contexts_path())
    if run.output.json:
        run.output.result({"schema_version": 1, "command": "contexts path", "path": path})
    else:
        run.output.line(path)


def as_json(context: Context) -> dict[str, Any]:
    """A context in JSON results; times are seconds since 1970."""
    info = context.info
    origin = info.get("origin") or {}
    return {
        "id": context.id,
        "names": list(context.names),
        "tokens": context.tokens,
        "saved_tokens": context.saved_tokens,
        "complete": context.complete,
        "checkpoints": [{"token": one.end, "label": one.label} for one in context.segments],
        "problem": context.problem,
        "bytes": context.nbytes,
        "path": str(context.path),
        "created": context.created,
        "used": context.used,
        "model": info.get("model"),
        "scheme": _scheme(context),
        "numerics": context.identity.numerics if context.identity else None,
        "arguments": list(origin.get("arguments", [])),
        "directory": origin.get("directory"),
        "sources": info.get("sources", []),
    }


def _scheme(context: Context) -> str | None:
    """The short name of the weights' scheme, out of all that an identity says of it."""
    if context.identity is None:
        return None
    try:
        return str(json.loads(context.identity.scheme)["scheme"])
    except (ValueError, TypeError, KeyError):
        return context.identity.scheme


def _model(info: Mapping[str, Any]) -> str:
    return str(info.get("model", "-")).rpartition("/")[2]


def _sources(info: Mapping[str, Any]) -> str:
    arguments = (info.get("origin") or {}).get("arguments") or ()
    files = len(info.get("sources", ()))
    text = " ".join(map(str, arguments)) or "-"
    return f"{text} ({files:,} files)" if files > 1 else text


def _trouble(context: Context) -> str:
    if context.problem:
        return f" [{context.problem}]"
    return "" if context.complete else " [not finished]"


def _style(context: Context) -> str | None:
    if context.problem and not context.other_format:
        return "red"
    return None if context.complete else "yellow"
