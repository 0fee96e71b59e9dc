"""Lists a folder without git: .gitignore and .jambaignore rules, links not followed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from jamba_cli.sources.document import Skipped
from jamba_cli.sources.globs import Globs
from jamba_cli.sources.ignore import IgnoreRules
from jamba_cli.sources.listing import (
    VENDORED_FOLDERS,
    VERSION_CONTROL,
    Listing,
    enclosing_repository,
)
from jamba_cli.sources.openfile import os_reason, special_kind


def walk_folder(root: Path, include: Globs) -> Listing:
    """Everything below `root` that is not ignored, in no particular order.

    Inside a repository the rules above `root` hold too, unless they ignore `root` as a whole:
    then it was named on purpose.  Files that are tracked although ignored are known only to git.
    """
    return _Walk(root.resolve(), include).run()


class _Walk:
    def __init__(self, root: Path, include: Globs) -> None:
        top = enclosing_repository(root) or root
        rules = _rules(top)
        inside = root.relative_to(top).as_posix()
        if inside != "." and rules.ignores_folder(inside):
            top, rules = root, _rules(root)
        self._root = root
        self._rules = rules
        self._prefix = "" if top == root else root.relative_to(top).as_posix() + "/"
        self._include = include
        self._listing = Listing()
        self._folders: list[tuple[str, bool]] = [("", False)]  # relative path, ignored

    def run(self) -> Listing:
        while self._folders:
            folder, ignored = self._folders.pop()
            try:
                with os.scandir(self._root / folder) as entries:
                    found = list(entries)
            except OSError as error:
                self._skip(folder + "/" if folder else "./", os_reason(error))
                continue
            for entry in found:
                if entry.name in VERSION_CONTROL:  # a file in a submodule or work tree
                    continue
                self._visit(entry, f"{folder}/{entry.name}" if folder else entry.name, ignored)
        return self._listing

    def _visit(self, entry: os.DirEntry[str], relative: str, ignored: bool) -> None:
        try:
            mode = entry.stat(follow_symlinks=False).st_mode
        except OSError as error:
            self._skip(relative, os_reason(error))
            return
        if stat.S_ISDIR(mode):
            self._visit_folder(entry.name, relative, ignored)
            return
        ignored = ignored or self._rules.ignores_file(self._prefix + relative)
        if not ignored:
            self._listing.files.append(relative)
        elif self._include and special_kind(mode) is None:
            self._listing.ignored.append(relative)

    def _visit_folder(self, name: str, relative: str, ignored: bool) -> None:
        ignored = ignored or self._rules.ignores_folder(self._prefix + relative)
        if name in VENDORED_FOLDERS and not self._include.names_folder(name):
            if not ignored:
                self._skip(relative + "/", "vendored folder")
        elif not ignored or self._include:
            self._folders.append((relative, ignored))

    def _skip(self, relative: str, reason: str) -> None:
        self._listing.skipped.append(Skipped(relative, reason))


def _rules(top: Path) -> IgnoreRules:
    exclude = top / ".git" / "info" / "exclude"
    return IgnoreRules(top, (".gitignore", ".jambaignore"), extra=[exclude])
