"""Names for contexts: one small sealed file each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from runtime.contexts import files
from runtime.contexts.hashing import DamagedError, seal, unseal
from runtime.contexts.records import Named
from runtime.errors import JambaError, UsageError

FOLDER = "names"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check(name: str) -> str:
    """The name itself; raises UsageError if it can't be one."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} can't be a context's name",
            hint="use up to 64 letters, digits, '.', '_' and '-', a letter or digit first",
        )
    return name


def read_all(root: Path) -> list[Named]:
    """Every name that can be read, sorted; raises OSError if the folder can't be."""
    folder = root / FOLDER
    paths = files.children(folder) if folder in files.children(root) else []
    found = []
    for path in paths:
        if path.suffix != ".json" or path.name.startswith("."):
            continue
        try:
            found.append(_read(path))
        except (DamagedError, OSError):
            continue
    return found


def read(root: Path, name: str) -> Named:
    """What a name stands for; raises JambaError with the names that there are."""
    try:
        return _read(root / FOLDER / f"{check(name)}.json")
    except (FileNotFoundError, NotADirectoryError):
        known = [each.name for each in read_all(root)]
        close = get_close_matches(name, known, n=1)
        guess = f"did you mean @{close[0]}? " if close else ""
        listed = ", ".join(f"@{each}" for each in known[:10])
        more = f" and {len(known) - 10} more" if len(known) > 10 else ""
        hint = (
            f"{guess}names: {listed}{more}"
            if known
            else (f"none has a name yet: `jamba ingest SRC --name {name}` gives one")
        )
        raise JambaError(f"no saved context is named '{name}'", hint=hint) from None
    except (DamagedError, OSError) as error:
        raise JambaError(
            f"the name '{name}' is damaged: {error}",
            hint="remove it with `jamba contexts rm` and ingest again",
        ) from error


def exists(root: Path, name: str) -> bool:
    """Whether there is such a name, damaged or not."""
    return _NAME.fullmatch(name) is not None and (root / FOLDER / f"{name}.json").exists()


def write(root: Path, name: str, ids: Sequence[str], info: Mapping[str, Any]) -> None:
    """Lets a name stand for these contexts from now on."""
    folder = root / FOLDER
    files.private_folder(folder)
    data = seal({"name": check(name), "ids": list(ids), "info": dict(info)})
    files.write(folder / f"{name}.json", [data])


def remove(root: Path, name: str) -> None:
    """Forgets a name; raises JambaError if there is none."""
    path = root / FOLDER / f"{check(name)}.json"
    if not path.exists():
        read(root, name)
    path.unlink(missing_ok=True)


def by_context(root: Path) -> dict[str, tuple[str, ...]]:
    """The names of every context that has one."""
    names: dict[str, tuple[str, ...]] = {}
    for each in read_all(root):
        for context_id in each.ids:
            names[context_id] = (*names.get(context_id, ()), each.name)
    return names


def _read(path: Path) -> Named:
    values = unseal(path.read_bytes())
    try:
        named = Named(values["name"], tuple(values["ids"]), values["info"])
    except (KeyError, TypeError):
        raise DamagedError("it contradicts itself") from None
    if named.name != path.stem:
        raise DamagedError("it is another name's file")
    return named
