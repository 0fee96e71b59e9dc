"""The seam to the prompt layout, which belongs to the command line and is loaded by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, cast

from runtime.quoting import AnswerForm


class DocumentLike(Protocol):
    """What was read, in prompt order."""

    parts: tuple[Any, ...]
    outline: str


class BlockLike(Protocol):
    """A run of lines of one part, with the reference shown before it."""

    part: Any
    start: int
    end: int
    reference: str

    @property
    def text(self) -> str:
        """The block as it stands in the document."""


class Layout:
    """The functions that make prompts, and the types of the documents they take."""

    def __init__(
        self,
        prompts: str = "jamba_cli.prompts",
        documents: str = "jamba_cli.sources.document",
        tree: str = "jamba_cli.sources.tree",
        quotable: str = "jamba_cli.quotable",
    ) -> None:
        self._prompts = importlib.import_module(prompts)
        types = importlib.import_module(documents)
        self._document: Callable[..., Any] = types.Document
        self.part: Callable[..., Any] = types.Part
        self._tree: Callable[[Iterable[str]], str] = importlib.import_module(tree).file_tree
        self._form: Callable[..., AnswerForm] = importlib.import_module(quotable).answer_form
        self.not_found = str(self._prompts.NOT_FOUND)

    def document(self, parts: Iterable[Any], outline: str = "") -> DocumentLike:
        """A document of these parts."""
        return cast(DocumentLike, self._document(parts=tuple(parts), outline=outline))

    def file_tree(self, paths: Iterable[str]) -> str:
        """The outline of a repository."""
        return self._tree(paths)

    def blocks(self, document: DocumentLike) -> Iterator[BlockLike]:
        """The blocks of a document as the prompt shows them."""
        return cast(Iterator[BlockLike], self._prompts.blocks(document))

    def prefix(self, document: DocumentLike, *, outline_last: bool = False) -> str:
        """The user message up to the task; the outline can stand behind the files."""
        if not outline_last:
            return str(self._prompts.prefix(document, style="quote"))
        pieces = list(self._prompts.prefix_pieces(document, style="quote"))
        opening, *outlines = (text for part, text in pieces if part is None)
        blocks = (text for part, text in pieces if part is not None)
        return "".join([opening, *blocks, *outlines]).rstrip()

    def form(self, document: DocumentLike, task: str) -> AnswerForm:
        """What the command line lets a quoting model answer."""
        return self._form(document, task, lambda _text: True)

    def summary_task(self, length: str, focus: str | None = None) -> str:
        """The task line of a summary."""
        return str(self._prompts.summary_task(style="quote", length=length, focus=focus))

    def summary_quotes(self, length: str) -> int:
        """How many quotes a summary of this length has."""
        return int(self._prompts.summary_quotes(length))

    def question_task(self, question: str) -> str:
        """The task line of a question."""
        return str(self._prompts.question_task(question))
