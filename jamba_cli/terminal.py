"""What may reach a terminal: safe text, colour, and what a stream is attached to."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Protocol, TextIO

# C0 without newline and tab, DEL, C1, the bidirectional controls that reorder what is shown,
# and the halves of surrogate pairs, which no encoding can write.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_UNSAFE_IN_LINE = re.compile(_UNSAFE.pattern[:-1] + "\t\n\u2028\u2029]")
_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


def clean(text: str) -> str:
    """Text of many lines without its control characters, so that no escape sequence survives."""
    return _UNSAFE.sub("", text)


def visible(text: str) -> str:
    """One line in which every control character is shown as an escape such as `\\x1b`.

    Bytes of a file name that are not UTF-8 are shown as `\\xff` too.
    """
    return _UNSAFE_IN_LINE.sub(_escaped, text)


def safe_json(text: str) -> str:
    """JSON text whose remaining control characters are written as JSON escapes."""
    return _UNSAFE_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # os.fsdecode's stand-in for an undecodable byte
        return f"\\x{code - 0xDC00:02x}"
    named = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(match[0])
    return named or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


class _HasTty(Protocol):
    def isatty(self) -> bool: ...


def is_tty(stream: _HasTty | None) -> bool:
    """Whether the stream is a terminal; a closed or missing stream is none."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def wants_color(
    stream: TextIO | None, choice: str = "auto", environ: Mapping[str, str] = os.environ
) -> bool:
    """Whether to colour a stream: NO_COLOR, then `choice`, FORCE_COLOR, TERM=dumb, then the TTY.

    `choice` is auto, always or never. NO_COLOR and JAMBA_NO_COLOR win, as no-color.org asks,
    over everything but the command line's own `always`.
    """
    if choice in ("always", "never"):
        return choice == "always"
    if environ.get("NO_COLOR") or environ.get("JAMBA_NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return is_tty(stream) and environ.get("TERM") != "dumb"


def paint(text: str, style: str | None) -> str:
    """The text inside the escape codes of a style such as "bold red"; None is plain."""
    if not style:
        return text
    codes = ";".join(STYLES[name] for name in style.split())
    return f"\x1b[{codes}m{text}\x1b[0m"
