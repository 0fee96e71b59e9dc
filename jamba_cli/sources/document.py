"""What reading produces: parts of text that know where they come from."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Part:
    """The smallest unit that a budget may drop whole: a file, a page, or a notebook cell.

    `text` uses "\\n" line ends and holds no control characters except newline and tab.
    For a file, line 1 of `text` is line `first_line` of the file as it is on disk.
    """

    path: str  # as shown to the user; relative where possible, "stdin" for standard input
    text: str
    first_line: int = 1
    page: int | None = None  # 1-based physical page of a PDF
    page_label: str | None = None  # the printed page number, only where it differs from `page`
    cell: int | None = None  # 1-based cell of a notebook
    language: str | None = None  # "python", "markdown", ...; None for plain text

    @property
    def name(self) -> str:
        """What the part is: `a.py`, `report.pdf p. 3`, `nb.ipynb cell 2`."""
        whole_file = self.page is None and self.cell is None
        return self.path if whole_file else self.reference().strip("[]")

    def line_at(self, offset: int) -> int:
        """The file's line number at a character offset of `text`."""
        return self.first_line + self.text.count("\n", 0, offset)

    def reference(self, offset: int = 0, *, with_path: bool = True) -> str:
        """The citation of a place: `[a.py:12]`, `[p. 3]`, `[report.pdf p. 3]`, `[nb.ipynb cell 2]`.

        `with_path=False` shortens a page's reference when only one PDF is being read.
        """
        if self.page is not None:
            return f"[{self.path} p. {self.page}]" if with_path else f"[p. {self.page}]"
        if self.cell is not None:
            return f"[{self.path} cell {self.cell}]"
        return f"[{self.path}:{self.line_at(offset)}]"


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that was found but not read, and why; always shown to the user."""

    path: str
    reason: str  # "binary", "lock file", "looks like a credential", "image only, no text", ...


@dataclass(frozen=True, slots=True)
class Document:
    """Everything that was read, in prompt order."""

    parts: tuple[Part, ...]
    skipped: tuple[Skipped, ...] = ()
    warnings: tuple[str, ...] = ()
    outline: str = ""  # a tree of files, or a PDF's table of contents; "" if there is none
    metadata: dict[str, str] = field(default_factory=dict)  # title, author, ... of a PDF

    @property
    def single_pdf(self) -> bool:
        """True when all parts are pages of one PDF, so that `[p. 3]` is unambiguous."""
        return bool(self.parts) and all(
            part.page is not None and part.path == self.parts[0].path for part in self.parts
        )

    def merged(self, other: Document) -> Document:
        """This document followed by another."""
        outline = "\n".join(text for text in (self.outline, other.outline) if text)
        return Document(
            parts=self.parts + other.parts,
            skipped=self.skipped + other.skipped,
            warnings=self.warnings + other.warnings,
            outline=outline,
            metadata={**self.metadata, **other.metadata},
        )
