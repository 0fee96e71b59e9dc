"""Removes saved contexts, named ones or what is of no use, and says what that freed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jamba_cli.contexts.opening import find_saved
from jamba_cli.contexts.saving import open_store
from jamba_cli.human import format_bytes
from jamba_cli.output import Output
from jamba_cli.session import Session
from jamba_cli.sources.names import plural
from runtime.errors import UsageError

if TYPE_CHECKING:
    from runtime.contexts import Context, ContextStore


def remove(refs: Sequence[str], run: Session, *, everything: bool) -> None:
    """Removes contexts by name or id; a name goes with its contexts, but for those that another
    name stands for too.

    Nothing is removed if one of them is not there, or is being written.
    """
    if everything == bool(refs):
        raise UsageError("name what to remove, or give --all", hint="jamba contexts rm @NAME")
    store = open_store(run.settings)
    names = {named.name: named.ids for named in store.names()}
    if everything:
        gone = list(names)
        ids = [context.id for context in store.contexts()]
    else:
        bare = [ref.removeprefix("@") for ref in refs]
        gone = [one for one in dict.fromkeys(bare) if store.has_name(one)]
        # A name's file that is damaged does not say what it stood for, and goes alone.
        ids = _ids([one for one in bare if one in names or one not in gone], store)
        kept = {one for name, owned in names.items() if name not in gone for one in owned}
        by_name = {one for name in gone for one in names.get(name, ())}
        ids = [one for one in ids if one not in by_name or one not in kept]
    for one in ids:
        store.check_removable(one)
    for name in gone:
        store.remove_name(name)
    freed = sum(store.remove(one) for one in ids)
    if everything:
        freed += store.collect().nbytes  # what a crash left is of documents too
    if not run.output.json:
        named = "" if ids else "".join(f"@{name} and " for name in gone)
        removed = plural(len(ids), "context")
        run.output.line(f"{named}{removed} removed, {format_bytes(freed)} freed")
    else:
        run.output.result(
            {
                "schema_version": 1,
                "command": "contexts rm",
                "removed": ids,
                "names": gone,
                "bytes_freed": freed,
            }
        )


def _ids(refs: Sequence[str], store: ContextStore) -> list[str]:
    """The contexts that the refs stand for and that are still there, each once."""
    found: dict[str, None] = {}
    for ref in refs:
        saved = find_saved(store, ref)
        found |= dict.fromkeys(context.id for context in saved.contexts)
    return list(found)


def note_other_format(contexts: Sequence[Context], output: Output) -> None:
    """Says what removes contexts of another version of jamba, if there are any."""
    if contexts:
        output.note(
            f"{plural(len(contexts), 'context')} of another version of jamba; "
            f"to remove: jamba contexts rm {' '.join(one.id for one in contexts)}"
        )


def collect(run: Session) -> None:
    """Removes leftovers, broken contexts and what is over the quota."""
    done = open_store(run.settings).collect()
    if run.output.json:
        run.output.result(
            {
                "schema_version": 1,
                "command": "contexts gc",
                "removed": list(done.removed),
                "kept": [context.id for context in done.kept],
                "left": [context.id for context in done.left],
                "bytes_freed": done.nbytes,
                "bytes_kept": done.kept_nbytes,
                "quota_bytes": run.settings.context_quota,
            }
        )
        return
    for line in done.removed:
        run.output.line(line)
    kept, quota = format_bytes(done.kept_nbytes), format_bytes(run.settings.context_quota)
    run.output.line(
        f"{format_bytes(done.nbytes)} freed; {plural(len(done.kept), 'context')} kept, "
        f"{kept} of the quota of {quota}"
    )
    note_other_format(done.left, run.output)
