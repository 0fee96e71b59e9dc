"""Shows models as a table, one in full, or the course of a download."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jamba_cli.human import format_bytes
from jamba_cli.output import Output
from jamba_cli.session import Session
from runtime import models
from runtime.errors import ModelError
from runtime.models import JAMBA_OPEN, KNOWN, ModelEntry

State = Literal["embedded", "local", "incomplete", "remote"]

STATE_STYLES = {"embedded": "green", "local": "green", "incomplete": "yellow", "remote": None}


@dataclass(frozen=True, slots=True)
class Found:
    """A model, and where it is."""

    entry: ModelEntry
    state: State
    path: Path | None = None
    problem: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The object of `jamba models --json`."""
        entry = self.entry
        return {
            "name": entry.name,
            "repo_id": entry.repo_id,
            "state": self.state,
            "path": None if self.path is None else str(self.path),
            "problem": self.problem,
            "parameters": entry.parameters,
            "bytes": entry.bytes,
            "memory_bytes": entry.memory_bytes(),
            "kv_bytes_per_token": entry.kv_bytes_per_token,
            "state_bytes": entry.state_bytes,
            "context_tokens": entry.context,
            "licence": entry.licence,
            "gated": entry.gated,
            "note": entry.note,
        }


def find_all() -> list[Found]:
    """Embedded models first, then the local and the known ones."""
    found: list[Found] = []
    local = {model.name: model for model in models.local_models()}
    for model in local.values():
        entry = models.known(model.name)
        if entry is None:
            try:
                licence = models.APACHE if model.kind == "embedded" else ""
                entry = models.describe(model.name, model.path, licence)
            except ModelError as error:
                entry = ModelEntry(model.name, None, 0, "", 0, model.bytes, 0, 0)
                found.append(Found(entry, "incomplete", model.path, error.message))
                continue
        state: State = "embedded" if model.kind == "embedded" else "local"
        state = "incomplete" if model.problem else state
        found.append(Found(entry, state, model.path, model.problem))
    found += [Found(entry, "remote") for entry in KNOWN if entry.name not in local]
    return found


def find(name: str) -> Found:
    """One model by any name; raises ModelError if nothing is known of it."""
    for found in find_all():
        if name.lower() in (found.entry.name.lower(), (found.entry.repo_id or "").lower()):
            return found
    path = models.resolve(name)
    return Found(models.describe(name, path), "local", path)


def show_list(output: Output) -> None:
    """The table of `jamba models`."""
    everything = find_all()
    if output.json:
        listed = [found.as_json() for found in everything]
        output.result({"schema_version": 1, "command": "models", "models": listed})
        return
    rows = [
        (
            found.entry.name,
            found.state,
            _billions(found.entry.parameters),
            format_bytes(found.entry.bytes),
            format_bytes(found.entry.memory_bytes()),
            _short_licence(found.entry),
        )
        for found in everything
    ]
    headers = ("name", "where", "size", "on disk", "memory", "licence")
    styles = [STATE_STYLES[found.state] for found in everything]
    output.table(headers, rows, "<<>>>", styles=styles)


def show_info(name: str, output: Output) -> None:
    """Everything about one model."""
    found = find(name)
    if output.json:
        output.result({"schema_version": 1, "command": "models info", **found.as_json()})
        return
    entry = found.entry
    output.line(entry.name, "bold")
    contexts = [tokens for tokens in (4_096, 65_536, entry.context) if tokens <= entry.context]
    lines = [
        ("where", found.state if found.path is None else f"{found.state}, {found.path}"),
        ("problem", found.problem or ""),
        ("Hub id", entry.repo_id or ""),
        ("licence", entry.licence + (", gated" if entry.gated else "")),
        ("parameters", f"{entry.parameters:,}"),
        ("weights", format_bytes(entry.bytes)),
        ("context", f"{entry.context:,} tokens"),
        ("KV cache", f"{format_bytes(entry.kv_bytes_per_token)} a token"),
        ("SSM state", f"{format_bytes(entry.state_bytes)} at any length"),
    ] + [
        ("memory", f"{format_bytes(entry.memory_bytes(tokens))} with {tokens:,} tokens")
        for tokens in dict.fromkeys(contexts)
    ]
    for label, text in [*lines, ("note", entry.note)]:
        if text:
            output.line(f"  {label:<11} {text}")
    if found.state in ("remote", "incomplete"):
        output.note(f"jamba models pull {entry.name} downloads it")


def pull(name: str, run: Session) -> None:
    """Downloads a model by name or Hub id and says where it is."""
    from runtime import download, hub

    entry = models.known(name)
    repo_id = (entry.repo_id if entry else name) or name
    if models.embedded_path(name) is not None or name == models.DEFAULT:
        run.output.note(f"{name} is embedded: there is nothing to download")
        return
    if not hub.is_repo_id(repo_id):
        models.resolve(name)  # says what the name is not
        raise ModelError(f"{name} is a directory on this machine: there is nothing to download")
    if entry is not None and entry.gated:
        run.output.note(f"{repo_id} is gated: its licence is accepted on the Hub, with HF_TOKEN")
    run.reporter.phase("download", None, "bytes")

    def show(done: int, total: int) -> None:
        run.reporter.phase("download", total, "bytes")
        with contextlib.suppress(BrokenPipeError):  # a download is kept, whoever reads of it
            run.reporter.advance(done)

    path = download.pull(repo_id, show)
    run.reporter.finish()
    shown = entry.name if entry else repo_id
    if run.output.json:
        run.output.result(
            {"schema_version": 1, "command": "models pull", "name": shown, "path": str(path)}
        )
    else:
        run.output.line(str(path))


def _billions(parameters: int) -> str:
    if not parameters:
        return "-"
    return f"{parameters / 1e9:.1f}B" if parameters >= 1e9 else f"{parameters / 1e6:.0f}M"


def _short_licence(entry: ModelEntry) -> str:
    licence = "Jamba Open" if entry.licence == JAMBA_OPEN else entry.licence
    return f"{licence}, gated" if entry.gated else licence
