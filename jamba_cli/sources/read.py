"""Reads one file, address or pipe after the other, and tells how far it is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from jamba_cli.sources.classify import (
    BINARY_CHECK_BYTES,
    NameVerdict,
    generated_reason,
    is_binary,
    is_pdf,
    is_private_key,
)
from jamba_cli.sources.convert import convert
from jamba_cli.sources.document import Document, Part, Skipped
from jamba_cli.sources.names import safe_name, size_text
from jamba_cli.sources.openfile import (
    LeftOutError,
    check_size,
    open_regular,
    read_bounded,
)
from jamba_cli.sources.options import (
    MAX_NAMED_BYTES,
    MAX_TOTAL_BYTES,
    ReadOptions,
    ReadProgress,
)
from jamba_cli.sources.url import fetch
from runtime.errors import InputError, UsageError


@dataclass(frozen=True, slots=True)
class Job:
    """One thing to read: a path, an address, or standard input if both are None."""

    path: Path | None = None
    url: str | None = None
    named: bool = False  # by the user, not found in a folder: failing is an error
    pages: str | None = None
    included: bool = False
    judge_generated: bool = False


class Reader:
    """Reads jobs one by one; keeps the count of files and bytes over all of them."""

    def __init__(
        self,
        options: ReadOptions,
        files_total: int,
        *,
        stdin: BinaryIO | None,
        on_progress: Callable[[ReadProgress], None] | None,
    ) -> None:
        self.saw_pdf = False
        self._options = options
        self._total = files_total
        self._done = 0
        self._bytes = 0
        self._stdin = stdin
        self._on_progress = on_progress

    def read(self, job: Job, display: str) -> Document:
        """The document of one job.

        Raises LeftOutError if a file found in a folder is not to be read, InputError if one named
        by the user can't be.
        """
        self._tell(display)
        try:
            document = self._read_any(job, display)
        except LeftOutError as error:
            if not job.named:
                raise
            raise _named_error(display, error.reason) from error
        finally:
            self._done += 1
        if job.pages is not None and not any(part.page is not None for part in document.parts):
            raise UsageError(f"{display}: pages can be chosen of PDFs only, this is none")
        return document

    def finish(self) -> None:
        """Tells that everything is read."""
        self._tell("")

    def _tell(self, path: str, pages_done: int = 0, pages_total: int = 0) -> None:
        if self._on_progress is not None:
            self._on_progress(ReadProgress(path, self._done, self._total, pages_done, pages_total))

    def _read_any(self, job: Job, display: str) -> Document:
        if job.path is not None:
            return self._read_path(job, job.path, display)
        if job.url is None:
            return self._read_bytes(self._read_stdin(), job, display)
        fetched = fetch(job.url, limit_bytes=MAX_NAMED_BYTES)
        is_page = fetched.content_type in ("text/html", "application/xhtml+xml")
        return self._read_bytes(fetched.data, job, display, is_page, fetched.charset)

    def _read_path(self, job: Job, path: Path, display: str) -> Document:
        if job.named and path.is_fifo():  # `<(command)`; others are refused before
            with path.open("rb") as pipe:
                data = read_bounded(pipe, MAX_NAMED_BYTES)
            return self._read_bytes(data, job, display)
        with open_regular(path, follow=job.named) as file:
            head = read_bounded(file, BINARY_CHECK_BYTES - 1)
            if not (path.suffix.lower() == ".pdf" or is_pdf(head)):
                data = self._read_rest(job, file, head)
                return self._read_bytes(data, job, display)
        return self._read_pdf(path, job, display)

    def _read_rest(self, job: Job, file: BinaryIO, head: bytes) -> bytes:
        if not head:
            raise LeftOutError("empty")
        if is_binary(head):
            raise LeftOutError("binary")
        limit = self._options.max_file_bytes
        if job.named or job.included:
            limit = max(limit, MAX_NAMED_BYTES)
        size = file.seek(0, 2)
        check_size(size, limit)
        file.seek(len(head))
        data = head + read_bounded(file, limit)
        check_size(len(data), limit)  # it may grow while it is read
        return data

    def _read_stdin(self) -> bytes:
        stdin = self._stdin or sys.stdin.buffer
        if stdin.isatty():
            raise UsageError(
                "standard input is a terminal, there is nothing to read",
                hint="pipe something into it: git log -p -3 | jamba ask - 'what changed?'",
            )
        data = read_bounded(stdin, MAX_NAMED_BYTES)
        check_size(len(data), MAX_NAMED_BYTES)
        return data

    def _read_bytes(
        self, data: bytes, job: Job, display: str, is_page: bool = False, charset: str | None = None
    ) -> Document:
        if is_pdf(data[:BINARY_CHECK_BYTES]):
            return self._read_pdf(data, job, display)
        self._count(len(data), display)
        strip = job.named
        converted = convert(data, display, strip=strip, is_page=is_page, charset=charset)
        if not job.named and not job.included:
            _judge(converted.parts[0], generated=job.judge_generated)
        warnings = tuple(f"{display}: {warning}" for warning in converted.warnings)
        return Document(converted.parts, warnings=warnings)

    def _count(self, size_bytes: int, display: str) -> None:
        self._bytes += size_bytes
        if self._bytes > MAX_TOTAL_BYTES:
            raise InputError(
                f"the sources hold more than {size_text(MAX_TOTAL_BYTES)} of text (at {display})",
                hint="name fewer folders, or leave some out with --exclude 'GLOB'",
            )

    def _read_pdf(self, source: Path | bytes, job: Job, display: str) -> Document:
        from jamba_cli.sources import pdf  # slow to import, and not every source needs it

        self.saw_pdf = True
        options = pdf.PdfOptions(
            pages=job.pages or self._options.pages,
            order=self._options.pdf_order,
            keep_headers=self._options.keep_headers,
            password=self._options.password,
        )

        def tell(done: int, total: int) -> None:
            self._tell(display, done, total)

        try:
            return pdf.read_pdf(source, display=display, options=options, on_page=tell)
        except InputError as error:
            if job.named:
                raise
            reason = error.message.removeprefix(f"{display}: ")
            return Document(
                (), (Skipped(display, reason),), (f"{display}: left out: {safe_name(reason)}",)
            )


def _judge(first: Part, *, generated: bool) -> None:
    if is_private_key(first.text):
        raise LeftOutError(NameVerdict.CREDENTIAL.value)
    reason = generated_reason(first.path, first.text) if generated and first.cell is None else None
    if reason is not None:
        raise LeftOutError(reason)


def _named_error(display: str, reason: str) -> InputError:
    hints = {
        "binary": "text, code, notebooks, HTML and PDF are read",
        "a named pipe": "pipe its content: jamba ... - < FILE",
    }
    if display == "stdin" and reason == "empty":
        return InputError("standard input is empty", hint="does the command before | give output?")
    words = {"binary": "a binary file, not text", "empty": "the file is empty"}.get(reason, reason)
    return InputError(f"{display}: {words}", hint=hints.get(reason))
