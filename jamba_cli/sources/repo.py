"""Which files of a folder are read, in which order; everything else is named with its reason."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from jamba_cli.sources.classify import NameVerdict, classify_name, pattern_names_credential
from jamba_cli.sources.document import Skipped
from jamba_cli.sources.git import GitRefusedError, git_listing
from jamba_cli.sources.globs import Globs
from jamba_cli.sources.history import last_changes
from jamba_cli.sources.listing import (
    Listing,
    enclosing_repository,
    vendored_folder,
    wanted_ignored,
)
from jamba_cli.sources.names import plural
from jamba_cli.sources.openfile import special_kind
from jamba_cli.sources.options import ReadOptions
from jamba_cli.sources.ordering import prompt_order
from jamba_cli.sources.walk import walk_folder


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file to read; `relative` is a POSIX path, not yet safe to show."""

    relative: str
    path: Path
    included: bool  # --include matched: only its being binary leaves it out
    judge_generated: bool  # whether markers of generated code count


@dataclass(frozen=True, slots=True)
class FolderPlan:
    """What to read of a folder, in prompt order; paths are relative to it and unescaped."""

    files: tuple[Candidate, ...]
    skipped: tuple[Skipped, ...]
    warnings: tuple[str, ...]


def plan_folder(root: Path, options: ReadOptions) -> FolderPlan:
    """Lists a folder and decides by name, kind and attributes; the order is ordering.py's."""
    include = Globs(options.include, option="--include")
    exclude = Globs(options.exclude, option="--exclude")
    root = root.resolve()
    listing = list_folder(root, include)
    chosen: list[Candidate] = []
    skipped = list(listing.skipped)
    vendored: Counter[str] = Counter()
    parents: dict[Path, bool] = {}
    for relative in listing.files + listing.ignored:
        included = include.matches(relative)
        reason = "--exclude" if exclude.matches(relative) else _kind_reason(root, relative, parents)
        verdict = classify_name(relative)
        if reason is None and verdict is NameVerdict.CREDENTIAL:
            spelled_out = any(map(pattern_names_credential, include.matching(relative)))
            reason = None if spelled_out else verdict.value
        if reason is None and not included:
            folder = vendored_folder(relative)
            if folder is not None and relative not in listing.not_attributes:
                vendored[folder] += 1
                continue
            reason = _name_reason(relative, verdict, listing)
        if reason is None:
            judge = not included and relative not in listing.not_attributes
            chosen.append(Candidate(relative, root / relative, included, judge))
        else:
            skipped.append(Skipped(relative, reason))
    skipped += [
        Skipped(f"{folder}/", f"vendored folder ({plural(count, 'file')})")
        for folder, count in vendored.items()
    ]
    names = [candidate.relative for candidate in chosen]
    changed = last_changes(root, names, largest=options.max_file_bytes) or {}
    chosen.sort(key=lambda one: prompt_order(one.relative, changed.get(one.relative)))
    skipped.sort(key=lambda item: item.path.split("/"))
    return FolderPlan(tuple(chosen), tuple(skipped), tuple(listing.warnings))


def list_folder(root: Path, include: Globs) -> Listing:
    """The files of a folder by git where it has a say, else by walking."""
    warnings: list[str] = []
    if enclosing_repository(root) is not None and shutil.which("git") is not None:
        try:
            listing = git_listing(root, include)
        except GitRefusedError as error:
            warnings.append(f"{root.name}: listed without git, by .gitignore files alone: {error}")
        else:
            listing.ignored = wanted_ignored(listing.ignored, include)
            if listing.files or listing.ignored or listing.skipped:
                return listing
            # A folder that the repository ignores as a whole was named on purpose.
    listing = walk_folder(root, include)
    listing.ignored = wanted_ignored(listing.ignored, include)
    listing.warnings += warnings
    return listing


def _kind_reason(root: Path, relative: str, parents: dict[Path, bool]) -> str | None:
    path = root / relative
    if path.parent not in parents:  # git also lists what lies behind a folder become a link
        parents[path.parent] = os.path.realpath(path.parent) == str(path.parent)
    if not parents[path.parent]:
        return "behind a link"
    try:
        mode = path.lstat().st_mode
        if not path.is_symlink():
            return special_kind(mode)
        path.stat()
    except OSError:
        return "broken link" if path.is_symlink() else None
    target = Path(os.path.realpath(path))
    return "link inside the folder" if target.is_relative_to(root) else "link out of the folder"


def _name_reason(relative: str, verdict: NameVerdict | None, listing: Listing) -> str | None:
    if relative in listing.attributes:
        return listing.attributes[relative]
    if verdict is None or (relative in listing.not_attributes and verdict.is_guess):
        return None
    return verdict.value
