"""The rules of .gitignore and .jambaignore files, nested as git nests them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pathspec import GitIgnoreSpec

from jamba_cli.sources.openfile import LeftOutError, open_regular, read_bounded

MAX_RULES_BYTES = 2**20
MAX_WILDCARDS = 3
"""More `*` in one component, or more `**`, make a pattern a trap: it is passed over."""

_Chain = tuple[tuple[int, GitIgnoreSpec], ...]
"""Rules from the deepest folder up, each with how much of a path stands before its folder."""


class IgnoreRules:
    """Answers whether a path below `top` is ignored; reads each ignore file once.

    The deepest folder's file decides, in one folder the later name of `names`; nothing below an
    ignored folder can be taken back.  `extra` are files of rules for `top` that all others beat.
    Paths are relative to `top`, POSIX style.
    """

    def __init__(self, top: Path, names: Sequence[str], extra: Sequence[Path] = ()) -> None:
        self._top = top
        self._names = tuple(names)
        at_top = self._rules_in("") + [spec for path in extra if (spec := _load(path))]
        self._chains: dict[str, _Chain] = {"": tuple((0, spec) for spec in at_top)}
        self._folders: dict[str, bool] = {"": False}

    def ignores_file(self, relative: str) -> bool:
        """Whether a file, or a folder that it lies in, is ignored."""
        parent = relative.rpartition("/")[0]
        return self.ignores_folder(parent) or self._decide(relative, relative)

    def ignores_folder(self, relative: str) -> bool:
        """Whether a folder, or one that it lies in, is ignored; "" is `top` itself."""
        unknown: list[str] = []
        while relative not in self._folders:
            unknown.append(relative)
            relative = relative.rpartition("/")[0]
        ignored = self._folders[relative]
        for folder in reversed(unknown):
            ignored = ignored or self._decide(folder, folder + "/")
            self._folders[folder] = ignored
        return ignored

    def _decide(self, relative: str, written: str) -> bool:
        for depth, spec in self._chain(relative.rpartition("/")[0]):
            decision = spec.check_file(written[depth:]).include
            if decision is not None:
                return decision
        return False

    def _chain(self, folder: str) -> _Chain:
        # Most folders have no rules of their own and share their parent's chain.
        unknown: list[str] = []
        while folder not in self._chains:
            unknown.append(folder)
            folder = folder.rpartition("/")[0]
        chain = self._chains[folder]
        for below in reversed(unknown):
            own = self._rules_in(below)
            chain = (*((len(below) + 1, spec) for spec in own), *chain) if own else chain
            self._chains[below] = chain
        return chain

    def _rules_in(self, folder: str) -> list[GitIgnoreSpec]:
        found = [_load(self._top / folder / name) for name in reversed(self._names)]
        return [spec for spec in found if spec]


def _load(path: Path) -> GitIgnoreSpec | None:
    try:
        with open_regular(path, follow=False) as file:
            data = read_bounded(file, MAX_RULES_BYTES)
    except LeftOutError:
        return None
    text = os.fsdecode(data.removeprefix(b"\xef\xbb\xbf"))
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return GitIgnoreSpec.from_lines([line for line in lines if _valid(line)])


def _valid(line: str) -> bool:
    # Each wildcard multiplies the steps of a failing match by the length of the name.
    if line.count("**") > MAX_WILDCARDS:
        return False
    if any(part.count("*") > MAX_WILDCARDS for part in line.replace("**", "").split("/")):
        return False
    try:
        GitIgnoreSpec.from_lines([line])
    except ValueError:  # git passes over a line that is no pattern, too
        return False
    return True
