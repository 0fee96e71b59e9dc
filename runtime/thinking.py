"""Separates a reasoning model's thoughts from its answer while the text arrives."""

from __future__ import annotations

from runtime.stream import held_back

OPEN = "<think>"
CLOSE = "</think>"


class ThinkingFilter:
    """Splits a stream of text into thought and answer.

    A thought stands only at the beginning: the prompt has already opened it (`inside`), or the
    output's first word is `<think>`. Later, both markers are text like any other, so that an answer
    may quote them. White space around the markers belongs to neither.
    """

    def __init__(self, *, inside: bool = False) -> None:
        self._state = "thought" if inside else "start"
        self._held = ""
        self._fresh = inside  # nothing of the current part is out yet: drop white space

    def push(self, text: str) -> tuple[str, str]:
        """Takes text; what is now certain, as (thought, answer)."""
        self._held += text
        if self._state == "start":
            self._start()
        thought = self._think() if self._state == "thought" else ""
        answer = self._answer() if self._state == "answer" else ""
        return thought, answer

    def flush(self) -> tuple[str, str]:
        """Ends the stream: what was held back, as (thought, answer)."""
        held, self._held = self._held, ""
        if self._state == "thought":
            return held.rstrip(), ""
        return "", held

    @property
    def thinking(self) -> bool:
        """Whether the output so far ends inside a thought: there is no answer yet."""
        return self._state == "thought"

    def _start(self) -> None:
        begun = self._held.lstrip()
        if begun.startswith(OPEN):
            self._held = begun.removeprefix(OPEN)
            self._state, self._fresh = "thought", True
        elif not OPEN.startswith(begun):
            self._state, self._fresh = "answer", False

    def _think(self) -> str:
        if self._fresh:
            self._held = self._held.lstrip()
            self._fresh = not self._held
        thought, close, rest = self._held.partition(CLOSE)
        if close:
            self._held, self._state, self._fresh = rest, "answer", True
            return thought.rstrip()
        marker = held_back(self._held, (CLOSE,))
        keep = len(self._held[: len(self._held) - marker].rstrip())
        thought, self._held = self._held[:keep], self._held[keep:]
        return thought

    def _answer(self) -> str:
        if self._fresh:
            self._held = self._held.lstrip()
            self._fresh = not self._held
        answer, self._held = self._held, ""
        return answer


def split_thinking(text: str, *, inside: bool = False) -> tuple[str, str]:
    """A whole output as (thought, answer)."""
    part = ThinkingFilter(inside=inside)
    pairs = (part.push(text), part.flush())
    return "".join(pair[0] for pair in pairs), "".join(pair[1] for pair in pairs)


def strip_thinking(text: str, *, inside: bool = False) -> str:
    """The answer alone."""
    return split_thinking(text, inside=inside)[1]
