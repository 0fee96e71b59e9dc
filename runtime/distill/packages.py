"""Downloads the packages of the recipe by name, with the registries' ordinary clients."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from runtime.distill.corpus import find_archive
from runtime.distill.sources import ABSTRACTS, SOURCES, TEACHER, Source

logger = logging.getLogger(__name__)

AT_ONCE = 6
SCOPE = "stdlib-"
"""How the archive of a package @stdlib/... begins."""


class Missing(Exception):  # noqa: N818  what is wrong is said by the message
    """Packages that could not be had, each with what its client said."""


def fetch(folder: Path, sources: tuple[Source, ...] = (*SOURCES, ABSTRACTS, TEACHER)) -> None:
    """Downloads what `folder` lacks, several at a time; raises Missing once all were tried.

    Debian's packages need `apt-get update` before, once.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        said = list(pool.map(lambda source: _fetch(folder, source), sources))
    missing = [f"{s.name}: {text}" for s, text in zip(sources, said, strict=True) if text]
    if missing:
        raise Missing(f"packages missing: {len(missing)}\n" + "\n".join(missing))


def _fetch(folder: Path, source: Source) -> str:
    """What is wrong; empty if the package is there."""
    said = ""
    for command in _commands(source):
        if find_archive(folder, source) is not None:
            return ""
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return f"needs {command[0]}"
        said = done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}"
    if find_archive(folder, source) is None:
        return said
    logger.info("%s", source.name)
    return ""


def _commands(source: Source) -> Iterator[list[str]]:
    """Which clients to ask, one after the other."""
    if source.registry == "pypi":
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", source.name]
        yield [*pip, "--only-binary=:all:"]
        yield [*pip, "--no-build-isolation"]  # has a source archive only
    elif source.registry == "debian":
        yield ["apt-get", "download", "-qq", source.name]
    else:
        scoped = source.name.startswith(SCOPE)
        name = f"@{source.name.replace('-', '/', 1)}" if scoped else source.name
        yield ["npm", "pack", "--silent", name]
