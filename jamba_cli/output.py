"""Where everything a command says goes: the result to stdout, the rest to stderr.

`Output` is used as a context manager around a command's work.  Nothing given to it is read as
markup, and no control character of a document, a file name or an answer passes through it.
Model text loses its control characters; names and messages show them as escapes.

`--quiet` silences notes and progress; warnings and errors are always shown.  With `-o FILE` the
result goes to the file and stdout stays empty; see answer_file.py for what an interrupt keeps.
"""

from __future__ import annotations

import json
import logging
import os
import select
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TextIO

from jamba_cli import logs
from jamba_cli.answer_file import AnswerFile
from jamba_cli.terminal import clean, is_tty, paint, safe_json, visible, wants_color
from runtime.errors import JambaError

if TYPE_CHECKING:
    from rich.console import Console

_current: Output | None = None


def current() -> Output:
    """The output of the running command, or one with the defaults."""
    return _current or Output()


def forget() -> None:
    """Forgets the output of a command that ran before in this process."""
    global _current
    _current = None


class Live(Protocol):
    """An animation on stderr that can step aside, such as rich.progress.Progress."""

    def start(self) -> None:
        """Appears again."""

    def stop(self) -> None:
        """Leaves the terminal."""


class Output:
    """The two streams of a command. `color` is auto, always or never; `path` is `-o FILE`."""

    def __init__(
        self,
        *,
        json: bool = False,
        quiet: bool = False,
        verbose: bool = False,
        color: str = "auto",
        path: Path | None = None,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
    ) -> None:
        self.json = json
        self.quiet = quiet
        self.verbose = verbose and not quiet
        self.stdout = stdout or sys.stdout
        self.stderr = stderr or sys.stderr
        self.stdout_is_tty = is_tty(self.stdout)
        self.stderr_is_tty = is_tty(self.stderr)
        self.stdout_color = wants_color(self.stdout, color)
        self.stderr_color = wants_color(self.stderr, color)
        self.warnings: list[str] = []
        self.live: Live | None = None
        self.if_stopped: Callable[[], str] | None = None  # what to say after a Ctrl-C or SIGTERM
        self._at_line_start = True
        self._file = None if path is None or str(path) == "-" else AnswerFile(path)

    @property
    def streams_to_terminal(self) -> bool:
        """Whether the answer appears on the user's terminal while it is made."""
        return self.stdout_is_tty and self._file is None and not self.json

    @cached_property
    def streams_meet(self) -> bool:
        """Whether both streams appear in one place: on a terminal, or in one file or pipe."""
        if self.stdout_is_tty or self.stderr_is_tty:
            return self.stdout_is_tty and self.stderr_is_tty
        try:
            return os.path.sameopenfile(self.stdout.fileno(), self.stderr.fileno())
        except (OSError, ValueError):  # no files at all, or closed
            return False

    @cached_property
    def err_console(self) -> Console:
        """A rich console on stderr, for progress; it decides nothing by itself."""
        from rich.console import Console

        return Console(
            file=self.stderr,
            force_terminal=self.stderr_is_tty,
            force_interactive=self.stderr_is_tty,
            color_system="standard" if self.stderr_color else None,
            markup=False,
            emoji=False,
            highlight=False,
        )

    # -- stdout

    def answer(self, text: str) -> None:
        """Shows a piece of the model's answer at once; with `--json` the result carries it."""
        if not self.json:
            self._write(clean(text))

    def end_answer(self) -> None:
        """Ends the answer's last line if it is still open."""
        if not self._at_line_start:
            self._write("\n")

    def line(self, text: str = "", style: str | None = None) -> None:
        """One line of a human-readable result; `style` such as "bold red" where colour is on."""
        text = visible(text)
        colored = self.stdout_color and self._file is None
        self._write((paint(text, style) if colored and text else text) + "\n")

    def table(
        self,
        headers: Sequence[str],
        rows: Sequence[Sequence[str]],
        align: str = "",
        styles: Sequence[str | None] = (),
    ) -> None:
        """Aligned columns under a heading; `align` has one of `<` and `>` a column.

        Nothing is cut off: put the column of open length last.  `styles` has one a row.
        """
        from rich.cells import cell_len

        cells = [[visible(cell) for cell in row] for row in (headers, *rows)]
        widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
        align = align.ljust(len(widths), "<")
        row_styles = ["bold", *(styles or [None] * len(rows))]
        for row, style in zip(cells, row_styles, strict=True):
            parts = []
            for cell, width, side in zip(row, widths, align, strict=True):
                space = " " * (width - cell_len(cell))
                parts.append(space + cell if side == ">" else cell + space)
            self.line("  ".join(parts).rstrip(), style)

    def result(self, value: Mapping[str, Any]) -> None:
        """One JSON object."""
        text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)
        self._write(safe_json(text) + "\n")

    def check_reader(self) -> None:
        """BrokenPipeError if whoever reads stdout has gone, though nothing is being written."""
        if self._file is None and not self.stdout_is_tty and reader_has_gone(self.stdout):
            raise BrokenPipeError

    def _write(self, text: str) -> None:
        if not text:
            return
        if self._file is not None:
            self._file.write(text)
        else:
            if self.live is not None and self.stdout_is_tty:
                self.live.stop()  # both would draw on the same lines
                self.live = None
            write_stdout(self.stdout, text)
        self._at_line_start = text.endswith("\n")

    # -- stderr

    def note(self, text: str) -> None:
        """One line of information; silent with `--quiet`."""
        if not self.quiet:
            self._say("", text, "dim")

    def detail(self, text: str) -> None:
        """One line for `--verbose`."""
        if self.verbose:
            self._say("", text, "dim")

    def warning(self, text: str) -> None:
        """One line that is shown even with `--quiet`, and kept for the JSON result."""
        self.warnings.append(visible(text))
        self._say("warning: ", text, "yellow")

    def error(self, error: JambaError | str, *, hint: str | None = None) -> None:
        """`error: …` and, where there is one, `hint: …`."""
        if isinstance(error, JambaError):
            hint = hint or error.hint
            error = error.message
        self._say("error: ", error, "bold red")
        if hint:
            self._say("hint: ", hint, "cyan")

    def trace(self, error: BaseException) -> None:
        """The traceback, for JAMBA_DEBUG=1."""
        self._write_stderr(clean("".join(traceback.format_exception(error))))

    def _say(self, label: str, text: str, style: str) -> None:
        # A second line is indented, so that no message can pass for another.
        text = "\n  ".join(visible(line) for line in text.split("\n"))
        if self._file is None and not self._at_line_start and self.streams_meet:
            self._write("\n")
        painted, plain = (label, text) if label else (text, "")
        if self.live is not None:
            from rich.text import Text

            self.err_console.print(Text.assemble((painted, style), plain), soft_wrap=True)
            return
        painted = paint(painted, style) if self.stderr_color else painted
        self._write_stderr(f"{painted}{plain}\n")

    def _write_stderr(self, text: str) -> None:
        try:
            self.stderr.write(text)
            self.stderr.flush()
        except BrokenPipeError:
            raise
        except (OSError, ValueError):
            return  # stderr is full or closed: there is no place left to say so

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Takes the animation off the terminal meanwhile, for a prompt or streamed text."""
        live = self.live
        if live is not None:
            live.stop()
        try:
            yield
        finally:
            if live is not None and self.live is live:
                live.start()

    def __enter__(self) -> Self:
        global _current
        _current = self
        self._logs = logs.LogHandler(self.warning, self.detail)
        self._logs.install(logging.INFO if self.verbose else logging.WARNING)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._logs.remove()
        if self.live is not None:
            self.live.stop()
            self.live = None
        if self._file is None:
            return
        if kind is None:
            self._file.commit()
        elif issubclass(kind, Exception):
            self._file.discard()
        elif (partial := self._file.keep_partial()) is not None:
            self._file = None
            self.note(f"the text so far is kept in {partial}")


def reader_has_gone(stream: TextIO) -> bool:
    """Whether the stream is a pipe that nobody reads any more."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):  # not a file of the system
        return False
    poll = select.poll()
    poll.register(descriptor, 0)  # the error states are always reported
    return any(events & select.POLLERR for _, events in poll.poll(0))


def write_stdout(stream: TextIO, text: str) -> None:
    """Writes and flushes; a reader that has gone is BrokenPipeError, a full disk JambaError."""
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise JambaError(f"standard output: {(error.strerror or str(error)).lower()}") from error
