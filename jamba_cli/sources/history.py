"""When each file of a git work tree was last changed, from one pass over the history.

Only the first parents are followed, so that a merge counts as the change that it brought, and the
pass ends as soon as every file has been seen.  Whether a file differs from its commit is decided
here, by hashing it: git itself would first run the filters that a repository's settings name.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO

from jamba_cli.sources.git import GitRefusedError, git_command, git_environment, run_git
from jamba_cli.sources.listing import enclosing_repository
from jamba_cli.sources.openfile import LeftOutError, open_regular

TIMEOUT_S = 20.0
"""A history that takes longer is not used: an order that depends on the clock would not be one."""

UNCOMMITTED = 1 << 62
"""The time of what no commit holds as it is now: later than any."""

_LOG = (
    "log",
    "--first-parent",
    "--diff-merges=first-parent",
    "--no-show-signature",  # the settings name the program that checks them
    "--no-renames",
    "--relative",
    "--name-only",
    "-z",
    "--format=format:%x01%ct",
    "HEAD",
    "--",
    ".",
)
_COMMIT = re.compile(rb"\x01(\d+)\n?")


def last_changes(root: Path, files: Collection[str], *, largest: int) -> dict[str, int] | None:
    """Seconds since 1970 of the last commit of each file, UNCOMMITTED where that is not all.

    `files` are POSIX paths relative to `root`; those above `largest` bytes are not compared with
    their commit.  None without git, without a commit, or when the history takes too long.
    """
    if not files or enclosing_repository(root) is None:
        return None
    try:
        committed = _committed(root)
        wanted = {file for file in files if file in committed}
        times = _times(root, wanted) if wanted else {}
    except (GitRefusedError, OSError):
        return None
    return {
        file: UNCOMMITTED
        if file not in committed or _differs(root / file, committed[file], largest)
        else times.get(file, 0)
        for file in files
    }


def _committed(root: Path) -> dict[str, str]:
    """The blob of each file in the last commit; links and submodules have "" for a blob."""
    output, _ = run_git(root, "ls-tree", "-r", "-z", "HEAD")
    found: dict[str, str] = {}
    for entry in filter(None, output.split("\0")):
        kind, _, path = entry.partition("\t")
        mode, _, blob = kind.split(" ")
        found[path] = blob if mode.startswith("100") else ""
    return found


def _differs(path: Path, blob: str, largest: int) -> bool:
    if not blob:
        return False
    try:
        with open_regular(path, follow=False) as file:
            size = file.seek(0, 2)
            if size > largest:
                return False
            file.seek(0)
            data = file.read(size)
    except (OSError, LeftOutError):
        return False  # reading it will say why
    digest = hashlib.sha1 if len(blob) == 40 else hashlib.sha256
    return digest(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() != blob


def _times(root: Path, wanted: Collection[str]) -> dict[str, int]:
    """The time of the newest commit that touched each wanted file."""
    missing = {file.encode("utf-8", "surrogateescape"): file for file in wanted}
    times: dict[str, int] = {}
    deadline = time.monotonic() + TIMEOUT_S
    command = git_command(root, *_LOG)
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        env=git_environment(),
    ) as process:
        try:
            assert process.stdout is not None
            committed_at = 0
            for field in _fields(process.stdout):
                header = _COMMIT.match(field)
                if header is not None:
                    committed_at = int(header[1])
                    field = field[header.end() :]
                    if time.monotonic() > deadline:
                        raise GitRefusedError("the history is too long")
                file = missing.pop(field, None)
                if file is not None:
                    times[file] = committed_at
                    if not missing:
                        break
        finally:
            process.kill()
    return times


def _fields(stream: IO[bytes]) -> Iterator[bytes]:
    rest = b""
    while data := stream.read(1 << 16):
        *whole, rest = (rest + data).split(b"\0")
        yield from whole
    yield rest
