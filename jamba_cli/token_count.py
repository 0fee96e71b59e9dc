"""How many tokens a document has, whole and by part, exactly as prefill will read it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from jamba_cli.prompts import blocks, document_text
from jamba_cli.sources.document import Document, Part


class Encoder(Protocol):
    """What counting needs of a tokenizer."""

    def encode_many(
        self, texts: Iterable[str], on_progress: Any = None, /
    ) -> Sequence[Sequence[int]]:
        """The ids of each text; `on_progress(characters done, characters in all)`."""


@dataclass(frozen=True, slots=True)
class TokenCount:
    """Tokens of a document; `parts` go with `document.parts`.

    A part is counted by itself, so the parts and the outline may add up to a few tokens more or
    less than `total`: a token can span the border of two.
    """

    document: Document
    total: int
    outline: int
    parts: tuple[int, ...]


def count_tokens(document: Document, tokenizer: Encoder, on_progress: Any = None) -> TokenCount:
    """Counts the text of `prompts.document_text`, in which a reference precedes each block."""
    texts = [""] * len(document.parts)
    numbers = {id(part): number for number, part in enumerate(document.parts)}
    for block in blocks(document):
        texts[numbers[id(block.part)]] += block.shown
    outline = document_text(Document((), outline=document.outline))
    encoded = tokenizer.encode_many([document_text(document), outline, *texts], on_progress)
    total, outline_tokens, *parts = map(len, encoded)
    return TokenCount(document, total, outline_tokens, tuple(parts))


@dataclass(slots=True)
class Node:
    """A directory, a file, or a page or cell of one, with the tokens below it."""

    name: str
    tokens: int = 0
    children: dict[str, Node] = field(default_factory=dict)

    def rows(self, depth: int = 0) -> Iterator[tuple[int, str]]:
        """Tokens and indented name of everything below, in the order it was read."""
        for child in self.children.values():
            yield child.tokens, "  " * depth + child.name
            yield from child.rows(depth + 1)


def tree(count: TokenCount) -> Node:
    """The parts by directory, file and page; a lone PDF or notebook keeps its own level."""
    root = Node("", count.total)
    if count.outline:
        root.children["outline"] = Node("(outline)", count.outline)
    for part, tokens in zip(count.document.parts, count.parts, strict=True):
        node = root
        for name in _levels(part):
            node = node.children.setdefault(name, Node(name))
            node.tokens += tokens
    return root


def _levels(part: Part) -> list[str]:
    *directories, file = part.path.split("/")
    levels = [f"{name}/" for name in directories] + [file]
    if part.page is not None:
        label = f" ({part.page_label})" if part.page_label else ""
        levels.append(f"p. {part.page}{label}")
    elif part.cell is not None:
        levels.append(f"cell {part.cell}")
    return levels


def as_json(count: TokenCount, model: str, context: int, warnings: Sequence[str]) -> dict[str, Any]:
    """The object of `jamba tokens --json`; see docs/reference/cli.md."""
    document = count.document
    return {
        "schema_version": 1,
        "command": "tokens",
        "model": model,
        "total_tokens": count.total,
        "context_tokens": context,
        "outline_tokens": count.outline,
        "sources": [
            {"path": part.path, **_place(part), "tokens": tokens, "characters": len(part.text)}
            for part, tokens in zip(document.parts, count.parts, strict=True)
        ],
        "skipped": [{"path": item.path, "reason": item.reason} for item in document.skipped],
        "warnings": list(warnings),
    }


def _place(part: Part) -> Mapping[str, object]:
    places = {"page": part.page, "page_label": part.page_label, "cell": part.cell}
    return {key: value for key, value in places.items() if value is not None}
