"""Fits a document to the context: whole, in windows that each fit, or with whole parts dropped.

Counts are exact and made before any weights are loaded; nothing is left out without a name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from jamba_cli.prompts import Block, blocks
from jamba_cli.reader import Reader
from jamba_cli.sources.document import Document, Part
from runtime.errors import BudgetError

SPARE_TOKENS = 16
"""Kept free in a window: a count by pieces may be off by a token where two pieces meet."""


ANSWER_TOKENS = 512
"""The longest answer of `ask` unless told otherwise."""

RESERVE = 8
"""Task and answer take a multiple of this part of the context, here an eighth."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a document will be read: `windows` in order, of at most `limit` prompt tokens each."""

    windows: tuple[Document, ...]
    tokens: int  # of the prompt, had it been read whole
    limit: int
    context: int
    dropped: tuple[str, ...] = ()


def plan(
    document: Document,
    task: str,
    reader: Reader,
    limit: int,
    over_budget: str,
    *,
    context: int | None = None,
) -> Plan:
    """Chooses what is read; `over_budget` is windows, fail or drop.

    `limit` are the prompt tokens that the answer leaves of `context` (`limit` itself if None).
    What one task and answer of usual length take is rounded up, so that every such task is put to
    the same windows, and what was read of them serves it.  Raises BudgetError under "fail", or if
    not even the task fits.
    """
    tokens = len(reader.prompt(document, task).ids)
    whole = Plan((document,), tokens, limit, context or limit)
    if tokens <= limit:
        return whole
    if over_budget == "fail":
        raise BudgetError(
            f"{tokens:,} tokens do not fit the {limit:,} that the context leaves for the input",
            hint="read it in windows (--over-budget windows), name fewer files or pages, or "
            "take a model with a longer context",
        )
    empty = replace(document, parts=(), outline="")
    room = _room(len(reader.prompt(empty, task).ids) + SPARE_TOKENS, whole)
    if room < 64:
        raise BudgetError(
            f"a context of {limit:,} tokens has no room for a document",
            hint="raise --context or lower --max-tokens",
        )
    if over_budget == "drop":
        return _drop(document, reader, room, whole)
    return replace(whole, windows=tuple(_windows(document, reader, room)))


def _room(task_tokens: int, whole: Plan) -> int:
    """Tokens left for the document beside task and answer, whose sum is rounded up.

    A shorter answer than usual makes no larger windows: they would be windows of its own.
    """
    answer = whole.context - whole.limit
    usual = max(answer, min(ANSWER_TOKENS, whole.context // 4)) if answer else 0
    step = max(1, whole.context // RESERVE)
    rounded = whole.context - -(-(usual + task_tokens) // step) * step
    return rounded if rounded >= 64 else whole.context - answer - task_tokens


def _drop(document: Document, reader: Reader, room: int, whole: Plan) -> Plan:
    """Keeps parts from the front while they fit, drops the others by name."""
    texts: dict[int, str] = {}
    for block in blocks(document):
        texts[id(block.part)] = texts.get(id(block.part), "") + block.shown
    counts = [len(ids) for ids in reader.tokenizer.encode_many(texts.values())]
    kept: list[Part] = []
    dropped: list[str] = []
    shown = [part for part in document.parts if id(part) in texts]
    for part, count in zip(shown, counts, strict=True):
        name = part.name
        if count <= room:
            room -= count
            kept.append(part)
        else:
            dropped.append(f"{name} ({count:,} tokens)")
    if not kept:
        raise BudgetError(
            "no file or page fits the context whole", hint="use --over-budget windows"
        )
    smaller = replace(document, parts=tuple(kept), outline="")
    return replace(whole, windows=(smaller,), dropped=tuple(dropped))


def _windows(document: Document, reader: Reader, room: int) -> list[Document]:
    """Runs of whole blocks of at most `room` tokens, each filled before the next is begun.

    So an edit changes its own window and those after it, never one before.  The last two share
    evenly what is left for them, or the last might hold a line or two.
    """
    pieces = [piece for block in blocks(document) for piece in _fitting(block, reader, room)]
    counts = [len(ids) for ids in reader.tokenizer.encode_many([piece.shown for piece in pieces])]
    sizes = _sizes(counts, room)
    if len(sizes) > 1:
        tail = counts[sum(sizes[:-2]) :]
        sizes[-2:] = _sizes(tail, min(room, -(-sum(tail) // 2) + max(tail)))
    ends = list(accumulate(sizes))
    groups = [pieces[end - size : end] for end, size in zip(ends, sizes, strict=True)]
    return [replace(document, parts=_as_parts(group), outline="") for group in groups]


def _sizes(counts: Sequence[int], room: int) -> list[int]:
    """How many pieces go into each window of at most `room` tokens."""
    sizes, used = [0], 0
    for count in counts:
        if sizes[-1] and used + count > room:
            sizes.append(0)
            used = 0
        sizes[-1] += 1
        used += count
    return sizes


def _fitting(block: Block, reader: Reader, room: int) -> list[Block]:
    """The block, cut in the middle as often as it takes to fit (a line of a million characters)."""
    if block.end - block.start < 16 or len(reader.tokenizer.encode(block.shown)) <= room:
        return [block]
    middle = (block.start + block.end) // 2
    halves = (replace(block, end=middle), replace(block, start=middle))
    return [piece for half in halves for piece in _fitting(half, reader, room)]


def _as_parts(group: Sequence[Block]) -> tuple[Part, ...]:
    """The blocks as parts of a smaller document, with the line numbers of the original."""
    parts: list[Part] = []
    first = last = group[0]
    for block in [*group[1:], None]:
        if block is not None and block.part is last.part and block.start >= last.end:
            last = block
            continue
        part = first.part
        text = part.text[first.start : last.end]
        parts.append(replace(part, text=text, first_line=part.line_at(first.start)))
        if block is not None:
            first = last = block
    return tuple(parts)
