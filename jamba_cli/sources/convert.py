"""The bytes of a text, a page of HTML or a notebook -> parts."""

from __future__ import annotations

from dataclasses import dataclass

from jamba_cli.sources.classify import is_binary, is_html
from jamba_cli.sources.document import Part
from jamba_cli.sources.html import strip_html
from jamba_cli.sources.languages import language_of
from jamba_cli.sources.notebook import NotANotebookError, notebook_parts
from jamba_cli.sources.openfile import LeftOutError
from jamba_cli.sources.text import decode

HTML_SUFFIXES = (".html", ".htm", ".xhtml")


@dataclass(frozen=True, slots=True)
class Converted:
    """Parts of one file, and warnings that do not yet name it."""

    parts: tuple[Part, ...]
    warnings: tuple[str, ...] = ()


def convert(
    data: bytes, display: str, *, strip: bool, is_page: bool = False, charset: str | None = None
) -> Converted:
    """Parts of anything but a PDF; raises LeftOutError if it is empty or binary.

    `strip` takes the tags out of HTML, known by `is_page`, by its name or by its first bytes;
    without it HTML stays source code.
    """
    warnings: tuple[str, ...] = ()
    if display.lower().endswith(".ipynb") and data.strip():
        try:
            parts = tuple(notebook_parts(data, display))
        except NotANotebookError as error:
            warnings = (f"read as text, not as a notebook: {error}",)
        else:
            if not parts:
                raise LeftOutError("no cell with text")
            return Converted(parts)
    if is_binary(data):
        raise LeftOutError("binary")
    decoded = decode(data, declared=charset)
    warnings += decoded.warnings
    text, language = decoded.text, language_of(display)
    if not text.strip():
        raise LeftOutError("empty")
    if strip and (is_page or display.lower().endswith(HTML_SUFFIXES) or is_html(data)):
        stripped = strip_html(text)
        text, language = stripped.text, None
        if not text.strip():
            raise LeftOutError("a page without text (is it made by JavaScript?)")
        if not stripped.keeps_lines:
            warnings += ("its lines are too long to cite; references count lines of its text",)
    return Converted((Part(display, text, language=language),), warnings)
