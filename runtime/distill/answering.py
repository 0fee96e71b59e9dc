"""Answers the evaluation's prompts with the runtime's own engine, as the command line does."""

from __future__ import annotations

import copy
import json
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from runtime import Engine, SamplingParams
from runtime.distill.evalset import Item

MIX = {
    "needle 2048": 5,
    "needle 4096": 4,
    "needle 8192": 3,
    "code": 4,
    "ask": 8,
    "summary": 5,
    "abstract": 3,
}
"""How many documents of each kind are taken in turn, so that any beginning is a fair sample."""


def document_groups(items: Sequence[Item]) -> list[list[int]]:
    """Numbers of the items by document, in an order that mixes the kinds."""
    by_document: dict[str, list[int]] = {}
    for number, item in enumerate(items):
        by_document.setdefault(str(item.blocks), []).append(number)
    piles: dict[str, list[list[int]]] = {kind: [] for kind in MIX}
    for group in by_document.values():
        kind = items[group[0]].kind
        kind = kind if kind in MIX else "ask" if kind.startswith("ask") else "code"
        piles[kind].append(group)
    rng = random.Random(4)
    for pile in piles.values():
        rng.shuffle(pile)
    ordered: list[list[int]] = []
    while any(piles.values()):
        for kind, count in MIX.items():
            ordered += piles[kind][:count]
            piles[kind] = piles[kind][count:]
    return ordered


def common_prefix(rows: Sequence[Sequence[int]]) -> int:
    """How many tokens all rows begin with, the last token of the shortest left out."""
    most = min(map(len, rows)) - 1
    same = (len({row[at] for row in rows}) == 1 for at in range(most))
    return next((at for at, equal in enumerate(same) if not equal), most)


def answers(
    engine: Engine, items: Sequence[Item], max_new: int, stop: int
) -> Iterator[tuple[int, list[int]]]:
    """Number and greedy answer of each item; a document's questions share its state."""
    params = SamplingParams(temperature=0.0, max_tokens=max_new)
    for group in document_groups(items):
        rows = [items[number].ids for number in group]
        shared = common_prefix(rows)
        base = engine.new_cache(max(map(len, rows)) + max_new)
        engine.prefill(rows[0][:shared], base)
        for number, row in zip(group, rows, strict=True):
            cache = copy.deepcopy(base)
            logits = engine.prefill(row[shared:], cache)
            made = [token.id for token in engine.generate(cache, logits, params)]
            yield number, made[: made.index(stop)] if stop in made else made


def answer_for(
    engine: Engine, items: Sequence[Item], log: Path, *, max_new: int, stop: int, limit_s: float
) -> dict[int, list[int]]:
    """As many answers as the time allows; each is also written to `log` when it is there."""
    started = time.monotonic()
    made: dict[int, list[int]] = {}
    with log.open("w") as file:
        for number, ids in answers(engine, items, max_new, stop):
            made[number] = ids
            file.write(json.dumps({"number": number, "ids": ids}) + "\n")
            file.flush()
            if time.monotonic() - started > limit_s:
                break
    return made
