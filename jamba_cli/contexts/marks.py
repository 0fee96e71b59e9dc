"""Where files and pages begin in a prompt, in tokens: the places worth a checkpoint.

Positions are counted on the prompt's own ids, by the bytes of each token, never by encoding a part
again: the same words may be other tokens where they stand beside other text.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from jamba_cli.prompts import prefix, prefix_pieces
from jamba_cli.sources.document import Document
from runtime.tokenizer import Tokenizer, whole_unicode


@dataclass(frozen=True, slots=True)
class Place:
    """A file, page or cell begins at token `position` of the prompt."""

    position: int
    label: str


def places(
    document: Document, ids: Sequence[int], tokenizer: Tokenizer, *, style: str
) -> list[Place]:
    """The beginnings of the document's parts in `ids`, a prompt that ends with the document.

    A token that reaches across a border belongs to what is before it only in part, so the place is
    in front of that token.  Empty if the ids do not spell the document (a tokenizer that changes
    text): then there is nothing to count on.
    """
    text = _bytes(prefix(document, style=style))
    pieces = tokenizer.token_bytes(ids)
    spelled = b"".join(pieces)
    if not spelled.endswith(text):
        return []
    ends = list(accumulate(map(len, pieces)))
    found: list[Place] = []
    for label, offset in _starts(document, style):
        byte = len(spelled) - len(text) + offset
        position = bisect.bisect_right(ends, byte)  # the first token that ends after it
        found.append(Place(position, label))
    return found


def _starts(document: Document, style: str) -> Iterator[tuple[str, int]]:
    """The label of each part that is shown, and at which byte of the prefix it begins."""
    offset = 0
    last = None
    for part, text in prefix_pieces(document, style=style):
        if part is not None and part is not last:
            yield part.name, offset
            last = part
        offset += len(_bytes(text))


def _bytes(text: str) -> bytes:
    return whole_unicode(text).encode()
