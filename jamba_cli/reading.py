"""Reads the sources of a command with progress, and tells what was left out."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from jamba_cli.output import Output
from jamba_cli.passwords import password_source
from jamba_cli.progress import Reporter
from jamba_cli.sources.classify import NameVerdict
from jamba_cli.sources.document import Document
from jamba_cli.sources.resolve import ReadOptions, ReadProgress, read_sources
from jamba_cli.terminal import is_tty
from runtime.errors import PartialError, UsageError

LEFT_OUT_BY_RULE = (
    *(verdict.value for verdict in NameVerdict),
    *("--exclude", "empty", "vendored", "generated", "blank page", "link inside the folder"),
    "named twice",
)
"""Beginnings of the reasons for which a file is left out although it could be read."""


def read_options(
    output: Output,
    *,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    pages: str | None = None,
    pdf_order: Literal["auto", "stream", "columns"] = "auto",
    keep_headers: bool = False,
    max_file_size: int | None = None,
    password_file: Path | None = None,
) -> ReadOptions:
    """The reading options of a command line; `max_file_size` is bytes."""
    options = ReadOptions(
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        pages=pages,
        pdf_order=pdf_order,
        keep_headers=keep_headers,
        password=password_source(output, password_file),
    )
    return options if max_file_size is None else replace(options, max_file_bytes=max_file_size)


def read_document(
    sources: Sequence[str] | None,
    options: ReadOptions,
    output: Output,
    reporter: Reporter,
    *,
    strict: bool = False,
) -> Document:
    """Everything the sources hold; without a source, standard input if something is piped in.

    Warnings and the number of skipped files go to stderr, each skipped file with `--verbose`.
    With `strict` a source that could not be read, or not whole, is a PartialError; what is left
    out by rule (binary, lock, empty, excluded, ...) is not.
    """
    reporter.phase("read", None, "files")
    document = read_sources(
        sources or _piped(), options, on_progress=lambda seen: _show(reporter, seen)
    )
    _show_result(reporter, document)
    reporter.finish()
    for warning in document.warnings:
        output.warning(warning)
    if document.skipped:
        output.note(f"left out: {skipped_summary(document)}")
    for skipped in document.skipped:
        output.detail(f"left out: {skipped.path}: {skipped.reason}")
    lost = [item for item in document.skipped if not item.reason.startswith(LEFT_OUT_BY_RULE)]
    if strict and (lost or document.warnings):
        count = len(lost) + len(document.warnings)
        raise PartialError(
            f"--strict: {count} {'thing was' if count == 1 else 'things were'} skipped or damaged",
            hint="--verbose lists what was skipped",
        )
    return document


def skipped_summary(document: Document) -> str:
    """How many files were left out, by reason: `12 files (7 binary, 5 lock file)`."""
    reasons = Counter(item.reason.partition(" (")[0] for item in document.skipped)
    listed = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
    count = len(document.skipped)
    return f"{count:,} {'file' if count == 1 else 'files'} ({listed})"


def _piped() -> list[str]:
    if is_tty(sys.stdin) or sys.stdin.name == os.devnull:
        raise UsageError(
            "nothing to read",
            hint="give a file, a folder, an address or - for standard input",
        )
    return ["-"]


def _show(reporter: Reporter, seen: ReadProgress) -> None:
    if seen.files_total == 1 and seen.pages_total:
        reporter.phase("read", seen.pages_total, "pages")
        reporter.advance(seen.pages_done, path=seen.path)
    else:
        reporter.phase("read", seen.files_total, "files")
        page = f" p. {seen.pages_done}/{seen.pages_total}" if seen.pages_total else ""
        reporter.advance(seen.files_done, path=seen.path + page)


def _show_result(reporter: Reporter, document: Document) -> None:
    characters = sum(len(part.text) for part in document.parts)
    if document.single_pdf:
        reporter.phase("read", len(document.parts), "pages")
        reporter.advance(len(document.parts), characters=characters)
    else:
        files = len({part.path for part in document.parts})
        reporter.phase("read", files, "files")
        reporter.advance(files, characters=characters)
