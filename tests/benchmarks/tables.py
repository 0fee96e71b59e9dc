"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], right: int = 1, until: int | None = None
) -> list[str]:
    """Its lines; columns from `right` to before `until` are numbers."""
    last = len(heads) if until is None else until
    marks = ["---:" if right <= i < last else "---" for i in range(len(heads))]
    lines = [heads, *rows]
    shown = ["| " + " | ".join(line) + " |" for line in lines]
    return [shown[0], "|" + "|".join(marks) + "|", *shown[1:]]
