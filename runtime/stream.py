"""Token ids to text while they arrive: whole characters only, nothing of a stop string."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence


def first_stop(text: str, stops: Sequence[str]) -> int | None:
    """Where the stop string that is complete first begins in `text`, or None."""
    ends = [(start + len(stop), start) for stop in stops if (start := text.find(stop)) >= 0]
    return min(ends)[1] if ends else None


def held_back(text: str, stops: Sequence[str]) -> int:
    """How many characters at the end of `text` may be the beginning of a stop string."""
    longest = max((len(stop) for stop in stops), default=1) - 1
    for count in range(min(longest, len(text)), 0, -1):
        tail = text[-count:]
        if any(stop.startswith(tail) for stop in stops):
            return count
    return 0


class StreamDecoder:
    """Turns ids into text that is final: what `push` returned never changes afterwards.

    All returned text together is `decode(ids)`, cut before the stop string that completes first.
    """

    def __init__(
        self,
        bytes_of: Callable[[int], bytes],
        stop: Sequence[str] = (),
        *,
        strip_first: bool = False,
    ) -> None:
        self._bytes_of = bytes_of
        self._stops = tuple(text for text in stop if text)
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._strip_first = strip_first  # some decoders drop one space at the very beginning
        self._held = ""
        self.stopped = False

    def push(self, token_id: int) -> str:
        """Takes one id; the text that is now certain, often empty inside a character."""
        return "" if self.stopped else self._release(self._utf8.decode(self._bytes_of(token_id)))

    def flush(self) -> str:
        """Ends the stream; what was held back, with U+FFFD for an unfinished character."""
        if self.stopped:
            return ""
        text = self._release(self._utf8.decode(b"", final=True)) + self._held
        self._held = ""
        return text

    def _release(self, text: str) -> str:
        if self._strip_first and text:
            self._strip_first = False
            text = text.removeprefix(" ")
        if not self._stops:
            return text
        text = self._held + text
        start = first_stop(text, self._stops)
        if start is not None:
            self.stopped = True
            self._held = ""
            return text[:start]
        keep = len(text) - held_back(text, self._stops)
        self._held = text[keep:]
        return text[:keep]
