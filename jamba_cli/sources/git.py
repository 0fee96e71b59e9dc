"""Lists a folder of a git work tree with git; a hostile repository's settings run no code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from jamba_cli.sources.document import Skipped
from jamba_cli.sources.globs import Globs
from jamba_cli.sources.ignore import IgnoreRules
from jamba_cli.sources.listing import Listing, enclosing_repository
from jamba_cli.sources.walk import walk_folder

TIMEOUT_S = 60
"""A pipe in the place of a .gitignore stops git; then the folder is walked."""

# A repository's own settings name programs; these come after them and win.
_SAFE_SETTINGS = (
    "core.fsmonitor=false",
    f"core.hooksPath={os.devnull}",
    "core.untrackedCache=keep",
    "protocol.allow=never",  # no fetch of missing objects, by whatever transport
    "safe.bareRepository=explicit",  # a folder laid out like a git directory is only a folder
)
_UNOPENED = re.compile(r"^warning: could not open directory '(.*)': (.*)$", re.MULTILINE)


class GitRefusedError(Exception):
    """Git would not list; the message is its own first line."""


def git_listing(root: Path, include: Globs) -> Listing:
    """Tracked and untracked files that are not ignored; raises GitRefusedError.

    Submodules and repositories inside are listed by their own rules.  Empty if `root` itself is
    ignored.
    """
    listing = Listing()
    output, complaints = run_git(root, "ls-files", "-co", "--exclude-standard", "-z")
    for name, reason in _UNOPENED.findall(complaints):
        listing.skipped.append(Skipped(name, f"unreadable ({reason})"))
    ignored_by_jamba = _jambaignore(root)
    inner: list[str] = []
    for file in dict.fromkeys(filter(None, output.split("\0"))):
        relative = file.rstrip("/")
        path = root / relative
        if path.is_dir() and not path.is_symlink():
            inner.append(relative)
        elif os.path.lexists(path):  # a tracked file may be deleted
            listing.files.append(relative)
    if include:
        output, _ = run_git(root, "ls-files", "-oi", "--exclude-standard", "-z")
        listing.ignored = [file for file in output.split("\0") if file and file[-1] != "/"]
    _add_attributes(root, listing)
    for relative in inner:
        listing.add_below(relative, _listing_inside(root / relative, include))
    listing.ignored += filter(ignored_by_jamba, listing.files)
    listing.files = [file for file in listing.files if not ignored_by_jamba(file)]
    return listing


def _jambaignore(root: Path) -> Callable[[str], bool]:
    top = enclosing_repository(root) or root
    rules = IgnoreRules(top, [".jambaignore"])
    if top == root:
        return rules.ignores_file
    prefix = root.relative_to(top).as_posix() + "/"
    return lambda relative: rules.ignores_file(prefix + relative)


def _listing_inside(folder: Path, include: Globs) -> Listing:
    # Without its own `.git`, git would answer for the outer repository, which knows nothing here.
    if (folder / ".git").exists():
        try:
            return git_listing(folder, include)
        except GitRefusedError as error:
            listing = walk_folder(folder, include)
            listing.warnings.append(f"{folder.name}: listed without git: {error}")
            return listing
    return walk_folder(folder, include)


def _add_attributes(root: Path, listing: Listing) -> None:
    files = listing.files + listing.ignored
    if not files:
        return
    names = ("linguist-generated", "linguist-vendored")
    output, _ = run_git(root, "check-attr", "-z", "--stdin", *names, given="\0".join(files) + "\0")
    fields = output.split("\0")
    for file, name, value in zip(fields[0::3], fields[1::3], fields[2::3], strict=False):
        if value in ("set", "true"):
            listing.attributes[file] = name.removeprefix("linguist-")
        elif value in ("unset", "false"):
            listing.not_attributes.add(file)


def git_command(root: Path, *arguments: str) -> list[str]:
    """The command line of git in a folder; raises GitRefusedError if there is no git."""
    program = shutil.which("git")
    if program is None:
        raise GitRefusedError("git is not installed")
    settings = [part for setting in _SAFE_SETTINGS for part in ("-c", setting)]
    return [program, *settings, "-C", str(root), *arguments]


def run_git(root: Path, *arguments: str, given: str = "") -> tuple[str, str]:
    """What git writes to its output and about its troubles; raises GitRefusedError."""
    command = git_command(root, *arguments)
    try:
        done = subprocess.run(
            command,
            input=os.fsencode(given),
            capture_output=True,
            env=git_environment(),
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GitRefusedError(f"git could not run ({type(error).__name__})") from error
    complaints = os.fsdecode(done.stderr)
    if done.returncode != 0:
        lines = complaints.strip().splitlines() or [f"git ended with code {done.returncode}"]
        raise GitRefusedError(lines[0].removeprefix("fatal: "))
    return os.fsdecode(done.stdout), complaints


def git_environment() -> dict[str, str]:
    """The environment that git runs in: nothing of a calling git's, no prompt, no fetch."""
    # GIT_DIR and its kin, set inside a hook, would answer for another repository.
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name.startswith("GIT_CONFIG")
    }
    return kept | {
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }
