"""What a folder holds, before anything is read; made by git.py or walk.py."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from jamba_cli.sources.document import Skipped
from jamba_cli.sources.globs import Globs

VERSION_CONTROL = frozenset({".git", ".hg", ".svn", ".jj", ".bzr"})

_VENDORED_FOLDERS_WORDS = """
    vendor vendors node_modules bower_components jspm_packages third_party third-party
    thirdparty .venv venv site-packages .yarn .pnpm-store Pods Carthage .bundle .eggs
    __pycache__ .tox .nox .mypy_cache .pytest_cache .ruff_cache .ipynb_checkpoints .gradle
    .terraform .direnv .next .nuxt .svelte-kit
"""
VENDORED_FOLDERS = frozenset(_VENDORED_FOLDERS_WORDS.split())


@dataclass(slots=True)
class Listing:
    """Files below a folder, as POSIX paths relative to it (undecodable bytes as surrogates)."""

    files: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)  # collected only if --include is given
    skipped: list[Skipped] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    attributes: dict[str, str] = field(default_factory=dict)  # file -> "generated" | "vendored"
    not_attributes: set[str] = field(default_factory=set)  # declared neither, by .gitattributes

    def add_below(self, folder: str, other: Listing) -> None:
        """Takes over the listing of a folder inside this one."""
        prefix = folder + "/"
        self.files += [prefix + file for file in other.files]
        self.ignored += [prefix + file for file in other.ignored]
        self.skipped += [Skipped(prefix + item.path, item.reason) for item in other.skipped]
        self.warnings += other.warnings
        self.attributes |= {prefix + file: kind for file, kind in other.attributes.items()}
        self.not_attributes |= {prefix + file for file in other.not_attributes}


def vendored_folder(relative: str) -> str | None:
    """The topmost vendored or machine-made folder that a file lies in, relative like the file."""
    folders = relative.split("/")[:-1]
    for depth, name in enumerate(folders):
        if name in VENDORED_FOLDERS:
            return "/".join(folders[: depth + 1])
    return None


def wanted_ignored(files: Iterable[str], include: Globs) -> list[str]:
    """The ignored files that --include brings back.

    A pattern of wildcards alone never does, and a vendored folder must be spelled out: otherwise
    `--include '*.py'` would bring a virtual environment.
    """
    wanted = []
    for file in files:
        folder = vendored_folder(file)
        spelled_out = folder is None or include.names_folder(folder.rpartition("/")[2])
        if spelled_out and include.say_more_than_all(file):
            wanted.append(file)
    return wanted


def enclosing_repository(folder: Path) -> Path | None:
    """The closest folder at or above this one that holds `.git`."""
    return next((top for top in (folder, *folder.parents) if (top / ".git").exists()), None)
