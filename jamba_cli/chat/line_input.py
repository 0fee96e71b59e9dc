"""Questions from a keyboard or a pipe: one a line, or several lines that belong together.

A backslash at a line's end goes on in the next line; lines between two lines of three double
quotes are one text.  On a terminal there is line editing and a history, in a file that only its
user can read.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from jamba_cli.terminal import is_tty

FENCE = '"""'
PROMPT = "> "
MORE = "... "
HISTORY_LINES = 1_000


def history_path() -> Path:
    """Where the lines typed in `jamba chat` are kept."""
    from platformdirs import user_data_path

    return user_data_path("jamba") / "chat_history"


class Lines:
    """Reads texts; `interactive` says that a person sits at both ends."""

    def __init__(self, stdin: TextIO, stdout: TextIO, stderr: TextIO) -> None:
        self.interactive = is_tty(stdin)
        self._edited = self.interactive and is_tty(stdout) and stdin is sys.stdin
        self._stdin = stdin
        self._stderr = stderr

    def read(self) -> str | None:
        """The next text without white space around it; None at the end of input."""
        line = self._line(PROMPT)
        if line is None:
            return None
        if line.strip() == FENCE:
            return self._fenced()
        lines = [line]
        while lines[-1].endswith("\\"):
            lines[-1] = lines[-1][:-1]
            following = self._line(MORE)
            if following is None:
                break
            lines.append(following)
        return "\n".join(lines).strip()

    def _fenced(self) -> str:
        lines: list[str] = []
        while (line := self._line(MORE)) is not None and line.strip() != FENCE:
            lines.append(line)
        return "\n".join(lines).strip()

    def _line(self, prompt: str) -> str | None:
        """One line without its end; None where there is no more."""
        if self._edited:
            try:
                return input(prompt)
            except EOFError:
                return None
        if self.interactive:  # stdout is redirected, and the prompt is no answer
            self._stderr.write(prompt)
            self._stderr.flush()
        line = self._stdin.readline()
        return line.rstrip("\n") if line else None


@contextmanager
def history(path: Path | None) -> Iterator[None]:
    """Line editing with the lines of earlier sessions; without a path none are kept."""
    try:
        import readline
    except ImportError:  # a Python without it: lines are typed as they are
        yield
        return
    readline.set_history_length(HISTORY_LINES)
    if path is not None:
        with contextlib.suppress(OSError):
            readline.read_history_file(path)
    try:
        yield
    finally:
        if path is not None:
            with contextlib.suppress(OSError):
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                path.touch(mode=0o600)
                readline.write_history_file(path)
                path.chmod(0o600)
