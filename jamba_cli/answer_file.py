"""The file behind `-o`: whole when it appears, never half of it under its own name.

The text goes to a temporary file in the same directory, which takes the place of the named file
when the command succeeds.  After Ctrl-C or SIGTERM the text so far is kept as `FILE.partial`;
after an error, such as a full disk, nothing is left.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path
from typing import TextIO

from jamba_cli.terminal import visible
from runtime.errors import JambaError

_open_files: list[AnswerFile] = []


def keep_partial_files() -> list[Path]:
    """Keeps the text so far of every open file as `FILE.partial`; for a stop by force."""
    kept = [file.keep_partial() for file in list(_open_files)]
    return [path for path in kept if path is not None]


class AnswerFile:
    """A text file that replaces `path` on `commit`; raises JambaError if it can't be written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._wrote = False
        self._temporary: Path | None = None
        try:
            self._file = self._open()
        except OSError as error:
            raise _failed(path, error) from error
        _open_files.append(self)

    def _open(self) -> TextIO:
        # A link is followed, so that it stays one; a device or a pipe can't be replaced.
        self._target = self.path.resolve()
        if self._target.is_dir():
            raise IsADirectoryError(None, "is a directory")
        if self._target.exists() and not self._target.is_file():
            return self._target.open("w", encoding="utf-8", errors="backslashreplace")
        descriptor, name = tempfile.mkstemp(prefix=".jamba-", dir=self._target.parent)
        self._temporary = Path(name)
        return os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace")

    def write(self, text: str) -> None:
        """Appends text and hands it to the system, so that an interrupt finds it on disk."""
        try:
            self._file.write(text)
            self._file.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            self.discard()
            raise _failed(self.path, error) from error
        self._wrote = self._wrote or bool(text)

    def commit(self) -> None:
        """Makes the text appear under its name, with the mode that the file had or would have."""
        try:
            if self._temporary is not None:
                os.fsync(self._file.fileno())
                self._temporary.chmod(self._mode())
            self._file.close()
            if self._temporary is not None:
                self._temporary.replace(self._target)
        except OSError as error:
            self.discard()
            raise _failed(self.path, error) from error
        self._forget()

    def keep_partial(self) -> Path | None:
        """Keeps the text so far as `FILE.partial`; returns its path, None if there is no text."""
        if not self._wrote or self._temporary is None:
            self.discard()
            return None
        partial = self.path.with_name(self.path.name + ".partial")
        with contextlib.suppress(OSError):
            self._file.close()
        try:
            self._temporary.replace(partial)
        except OSError:
            partial = self._temporary
        self._forget()
        return partial

    def discard(self) -> None:
        """Closes and removes the temporary file; the named file stays as it was."""
        with contextlib.suppress(OSError):
            self._file.close()
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)
        self._forget()

    def _forget(self) -> None:
        if self in _open_files:
            _open_files.remove(self)

    def _mode(self) -> int:
        if self._target.exists():
            return stat.S_IMODE(self._target.stat().st_mode)
        umask = os.umask(0)
        os.umask(umask)
        return 0o666 & ~umask


def _failed(path: Path, error: OSError) -> JambaError:
    reason = error.strerror or str(error)
    return JambaError(
        f"{visible(str(path))}: {reason[:1].lower()}{reason[1:]}",
        hint="nothing was written; choose another place with -o",
    )
