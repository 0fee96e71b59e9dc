"""What a command is to read: its sources, or a saved context by name, and with which model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jamba_cli.contexts.origin import Origin
from jamba_cli.contexts.saving import DOCUMENT, open_store
from jamba_cli.reader import Reader
from jamba_cli.reading import read_document
from jamba_cli.session import Session
from jamba_cli.settings import Settings
from jamba_cli.sources.document import Document
from jamba_cli.sources.options import ReadOptions
from jamba_cli.sources.saved import from_json
from jamba_cli.terminal import visible
from runtime.errors import JambaError, UsageError

if TYPE_CHECKING:
    from runtime.contexts import Context, ContextStore, Named

_ID = re.compile(r"[0-9a-f]{4,}")

KEPT_SETTINGS = ("model", "scheme", "context", "over_budget")
"""What a context was read with and is asked with, unless the command line says otherwise."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A model, and a document that `read` gives; `run` has the settings that are in force.

    `kept` are the contexts that the document comes from.
    """

    run: Session
    reader: Reader
    read: Callable[[], Document]
    origin: Origin | None
    kept: tuple[str, ...] = ()


def open_sources(
    sources: Sequence[str] | None,
    how: ReadOptions,
    run: Session,
    *,
    strict: bool = False,
    password_file: Path | None = None,
) -> Opened:
    """Gets ready to read the sources; `@NAME` alone is a saved context.

    Raises JambaError if there is no such context, ModelError if there is no such model.
    """
    name = context_name(sources or ())
    if name is not None:
        if replace(how, password=ReadOptions().password) != ReadOptions():
            raise UsageError(
                f"@{visible(name)}: how to read it was chosen when it was ingested",
                hint=f"leave those options out, or ingest it again: jamba ingest --name {name} ...",
            )
        return _open_saved(find_saved(open_store(run.settings), name), run)

    def read() -> Document:
        return read_document(sources, how, run.output, run.reporter, strict=strict)

    return Opened(run, Reader(run.settings.model), read, Origin.of(sources, how, password_file))


def context_name(sources: Sequence[str]) -> str | None:
    """The name in `@NAME` if that is the source; raises UsageError if there are others."""
    named = [source for source in sources if source.startswith("@") and len(source) > 1]
    if named and len(sources) > 1:
        hint = f"for a file of this name: ./{named[0]}"
        raise UsageError(f"{visible(named[0])} is a saved context: ask it alone", hint=hint)
    return named[0][1:] if named else None


@dataclass(frozen=True, slots=True)
class Saved:
    """A name, or the beginning of an id, with the contexts that it stands for, in order.

    `missing` are the ids of those that are not there any more.
    """

    ref: str
    contexts: tuple[Context, ...]
    info: dict[str, Any]
    missing: tuple[str, ...] = ()

    @classmethod
    def of(cls, named: Named, there: Iterable[Context]) -> Saved:
        """What a name stands for, of the contexts that are there."""
        by_id = {context.id: context for context in there}
        contexts = tuple(by_id[one] for one in named.ids if one in by_id)
        missing = tuple(one for one in named.ids if one not in by_id)
        return cls(named.name, contexts, dict(named.info), missing)

    @property
    def gone(self) -> str:
        """How many of its contexts are missing, in words, or nothing."""
        total, count = len(self.contexts) + len(self.missing), len(self.missing)
        if total == 1:
            return "its context is gone" if count else ""
        verb = "is" if count == 1 else "are"
        return f"{count} of its {total} contexts {verb} gone" if count else ""

    @property
    def again(self) -> str:
        """The command that reads its sources again and makes it whole."""
        arguments = (self.info.get("origin") or {}).get("arguments") or ()
        if arguments and "-" not in arguments:
            return f"jamba ingest --update @{self.ref}"
        named = self.missing or any(self.ref in context.names for context in self.contexts)
        name = f" --name {self.ref}" if named else ""
        return f"{'... | jamba ingest -' if arguments else 'jamba ingest SRC...'}{name}"

    def check(self) -> None:
        """Raises JambaError if a part of it is not there any more."""
        if self.missing:
            raise JambaError(
                f"@{self.ref}: {self.gone}: removed, or pushed out by the quota", hint=self.again
            )

    def document(self, store: ContextStore) -> Document:
        """What was read, over all windows; raises JambaError if it is damaged."""
        try:
            windows = [from_json(store.attachment(one, DOCUMENT)) for one in self.contexts]
        except JambaError as error:
            raise JambaError(f"@{self.ref}: {error.message}", hint=self.again) from error
        outline = str(self.info.get("outline", windows[0].outline))
        parts = tuple(part for window in windows for part in window.parts)
        return replace(windows[0], parts=parts, outline=outline)


def find_saved(store: ContextStore, ref: str) -> Saved:
    """The contexts behind a name, else the one whose id begins so; raises JambaError."""
    names = {named.name: named for named in store.names()}
    if ref in names:
        return Saved.of(names[ref], store.contexts())
    if _ID.fullmatch(ref) and any(one.id.startswith(ref) for one in store.contexts()):
        context = store.get(ref)
        info = context.info or next((names[one].info for one in context.names), {})
        return Saved(ref, (context,), dict(info))
    if Path(f"@{ref}").exists():
        raise JambaError(
            f"@{visible(ref)}: no saved context has this name or id",
            hint=f"for the file of this name: ./@{ref}",
        )
    store.named(ref)  # says which names there are
    raise AssertionError(ref)


def _open_saved(saved: Saved, run: Session) -> Opened:
    saved.check()
    run = replace(run, settings=kept_settings(saved.info, run))
    origin = saved.info.get("origin")
    store = open_store(run.settings)
    return Opened(
        run,
        Reader(run.settings.model),
        lambda: saved.document(store),
        Origin.from_json(origin) if origin else None,
        tuple(context.id for context in saved.contexts),
    )


def kept_settings(info: Mapping[str, Any], run: Session) -> Settings:
    """The settings with those that the context was read with, where no option says otherwise."""
    settings = run.settings
    kept = {
        key: info[key]
        for key in KEPT_SETTINGS
        if key in info and settings.origins.get(key) != "command line"
    }
    return replace(settings, **kept)
