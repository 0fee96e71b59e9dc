"""Where the password of an encrypted PDF comes from."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from jamba_cli.output import Output
from jamba_cli.terminal import is_tty, visible
from runtime.errors import UsageError

PROMPTS = 3


def password_source(
    output: Output,
    password_file: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Callable[[str], str | None]:
    """A function from a PDF's shown path to a password to try, or None when there is none.

    The first line of `--password-file`, then JAMBA_PDF_PASSWORD, then the user, `PROMPTS` times a
    file, on a terminal.  It is called only for a PDF that needs a password; a second call for the
    same path means that the answer was wrong, and goes on to the next place.
    """
    fixed = [
        text for text in (_from_file(password_file), environ.get("JAMBA_PDF_PASSWORD")) if text
    ]
    calls: dict[str, int] = {}

    def password(path: str) -> str | None:
        attempt = calls[path] = calls.get(path, 0) + 1
        if attempt <= len(fixed):
            return fixed[attempt - 1]
        may_ask = attempt <= len(fixed) + PROMPTS and is_tty(sys.stdin) and output.stderr_is_tty
        return _ask(output, path) if may_ask else None

    return password


def _ask(output: Output, path: str) -> str | None:
    from getpass import getpass

    with output.suspended():
        try:
            return getpass(f"password of {visible(path)}: ", stream=output.stderr) or None
        except EOFError:
            return None


def _from_file(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UsageError(f"--password-file {visible(str(path))}: {reason}") from error
    return text.split("\n")[0].removesuffix("\r")
