"""Bytes -> text with the same lines: encodings, line ends, terminal escapes, base64 runs."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from jamba_cli.sources.names import plural

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16: its mark starts with UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

# Encodings that a file may declare: supersets of ASCII, so that line ends stay line ends.
_DECLARABLE = re.compile(
    r"(cp\d|iso8859|koi8|mac[-_]|shift_jis|euc_|gb|big5|ascii$|utf-8$|tis-620|johab|ptcp154)"
)
_PEP_263 = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)", re.MULTILINE)
_HTML_CHARSET = re.compile(rb"<(?:meta|\?xml)\b[^>]*?(?:charset|encoding)=[\"' ]*([-\w.]+)", re.I)

# Looking behind keeps a million carriage returns from taking a million squared steps.
_LINE_END = re.compile(r"(?<!\r)\r+\n")
_ESCAPE_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # colours, cursor movements
    r"|(?:\x1b\]|\x9d)[^\x07\x1b\x9c\x9d\n]*(?:\x07|\x1b\\|\x9c)"  # titles, hyperlinks
    r"|\x1b[()*+][0-9A-Za-z]"  # character sets
)
_OVERSTRIKE = re.compile(r"[^\n\x08]\x08")  # bold and underline in manual pages
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{256,}={0,2}")


@dataclass(frozen=True, slots=True)
class Decoded:
    """Clean text, and what had to be guessed or left out (without the file's name)."""

    text: str
    warnings: tuple[str, ...] = ()


def has_text_bom(head: bytes) -> bool:
    """True if the first bytes mark a Unicode text, in which NUL bytes are normal."""
    return head.startswith(tuple(bom for bom, _ in _BOMS))


def decode(data: bytes, *, declared: str | None = None) -> Decoded:
    """Text of any bytes, with the line count of the original; never raises.

    `declared` is an encoding told from outside (HTTP); a file's own mark or UTF-8 comes first.
    """
    raw, warning = _to_text(data, declared)
    text = clean(raw)
    text, note = fold_base64(text)
    return Decoded(text, tuple(line for line in (warning, note) if line))


def _to_text(data: bytes, declared: str | None) -> tuple[str, str]:
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            text = data[len(bom) :].decode(encoding, "replace")
            wrong = text.count("\ufffd")
            return text, f"{plural(wrong, 'bad character')} in {encoding} text" if wrong else ""
    try:
        return data.decode("utf-8"), ""
    except UnicodeDecodeError:
        pass
    for name in (declared, *_declared_inside(data)):
        text_or_none = _decode_declared(data, name)
        if text_or_none is not None:
            return text_or_none, ""
    text = data.decode("utf-8", "replace")
    wrong = text.count("\ufffd")
    # A damaged UTF-8 text has more good multi-byte characters than bad ones; a Latin text none.
    if sum(char > "\x7f" for char in text) > 2 * wrong:
        return text, f"not valid UTF-8; {plural(wrong, 'bad place')} replaced"
    return data.decode("cp1252", "replace"), "not UTF-8; read as Windows-1252 (a guess)"


def _declared_inside(data: bytes) -> list[str]:
    head = data[:1024]
    two_lines = b"\n".join(head.split(b"\n", 2)[:2])
    found = [_PEP_263.search(two_lines), _HTML_CHARSET.search(head)]
    return [match[1].decode("ascii", "replace") for match in found if match]


def _decode_declared(data: bytes, name: str | None) -> str | None:
    try:
        codec = codecs.lookup(name or "")
        if not _DECLARABLE.match(codec.name):
            return None
        text = data.decode(codec.name)
    except (LookupError, UnicodeError, ValueError):
        return None
    return text if text.count("\n") == data.count(b"\n") else None


def clean(text: str) -> str:
    """Unix line ends, no terminal escapes, every other control character made visible.

    The number of lines stays; a text whose only line ends are carriage returns has those as lines.
    """
    if "\r" in text:
        text = _LINE_END.sub("\n", text) if "\n" in text else text.replace("\r", "\n")
    if not _UNSAFE.search(text):
        return text
    text = _ESCAPE_SEQUENCE.sub("", text)
    text = _OVERSTRIKE.sub("", text)
    return _UNSAFE.sub(_visible, text)


def _visible(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else "\ufffd"


def fold_base64(text: str) -> tuple[str, str]:
    """Long base64 runs replaced by their length, and a warning, "" if there were none."""
    lengths: list[int] = []

    def note(match: re.Match[str]) -> str:
        run = match[0]
        mixed = any(map(str.islower, run)) and any(map(str.isupper, run))
        if not (mixed and any(map(str.isdigit, run))):
            return run  # a ruler, a DNA sequence, a number
        lengths.append(len(run))
        return f"[{len(run):,} characters of base64 left out]"

    if max(map(len, text.split("\n"))) >= 256:  # most files have no such line, and this is quick
        text = _BASE64.sub(note, text)
    if not lengths:
        return text, ""
    runs = plural(len(lengths), "run")
    return text, f"{runs} of base64 left out ({plural(sum(lengths), 'character')})"
