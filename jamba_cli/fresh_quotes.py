"""Keeps a quoting model from giving the same quote twice.

A small model that has given a quote is drawn to the same words again.  No two bullets of an answer
may begin with the same two tokens: at that point the model takes its next choice, and what it
copies from there on is another place of the document.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

_SAME = 3  # the bullet's mark and the two tokens after it


class FreshQuotes:
    """Says after each token which ones may not come next; give it the answer's ids in order."""

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._line: list[int] = []
        self._begun: dict[tuple[int, ...], set[int]] = {}

    def __call__(self, generated: Sequence[int]) -> Collection[int]:
        """Takes the ids so far, one more than the last time; the ids that are forbidden now."""
        if generated:
            self._line.append(generated[-1])
            if self._decode(generated[-1:]).endswith("\n"):
                self._line = []
            elif len(self._line) == _SAME:
                *head, last = self._line
                self._begun.setdefault(tuple(head), set()).add(last)
        return self._begun.get(tuple(self._line), ()) if len(self._line) == _SAME - 1 else ()
