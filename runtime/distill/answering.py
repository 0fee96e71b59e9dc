"""Answers the evaluation's prompts with the runtime's own engine, as the command line does."""

from __future__ import annotations

import copy
import json
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from runtime import Engine, HybridCache, SamplingParams
from runtime.distill.evalset import Item
from runtime.quoting import EncodeMany, QuoteGuide

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


def document_groups(items: Sequence[Item], chosen: Iterable[int]) -> list[list[int]]:
    """The chosen numbers of items by document, in an order that mixes the kinds."""
    by_document: dict[str, list[int]] = {}
    for number in chosen:
        by_document.setdefault(str(items[number].blocks), []).append(number)
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


@dataclass(frozen=True, slots=True)
class Answering:
    """How items are answered: by whom, how long at most, and in which ways.

    "guided" is what the command line does: only quotes of the document may be written.  "free" is
    the model alone.
    """

    engine: Engine
    encode_many: EncodeMany
    stop: int
    max_new: int
    ways: Sequence[str] = ("guided", "free")
    worker: int = 0
    workers: int = 1

    def answers(
        self, items: Sequence[Item], chosen: Iterable[int]
    ) -> Iterator[tuple[int, dict[str, list[int]]]]:
        """Number and greedy answers of this worker's items; a document's questions share its state.

        Documents are dealt out to the workers by turns.
        """
        for group in document_groups(items, chosen)[self.worker :: self.workers]:
            rows = [items[number].ids for number in group]
            shared = common_prefix(rows)
            base = self.engine.new_cache(max(map(len, rows)) + self.max_new)
            self.engine.prefill(rows[0][:shared], base)
            for number, row in zip(group, rows, strict=True):
                asked = copy.deepcopy(base)
                logits = self.engine.prefill(row[shared:], asked)
                made = {}
                for way in self.ways:
                    cache = copy.deepcopy(asked) if way != self.ways[-1] else asked
                    made[way] = self._answer(items[number], way, cache, logits)
                yield number, made

    def _answer(self, item: Item, way: str, cache: HybridCache, logits: Tensor) -> list[int]:
        params = SamplingParams(temperature=0.0, max_tokens=self.max_new)
        guide = None
        if way == "guided":
            guide = QuoteGuide(item.form, self.encode_many, [self.stop], look_ahead=True)
        tokens = self.engine.generate(cache, logits, params, stop_ids=[self.stop], guide=guide)
        return [token.id for token in tokens if not token.is_stop]

    def answer_for(
        self, items: Sequence[Item], chosen: Iterable[int], log: Path, limit_s: float
    ) -> None:
        """Writes as many answers to `log` as the time allows, each at once."""
        started = time.monotonic()
        with log.open("w") as file:
            for number, answers in self.answers(items, chosen):
                for way, ids in answers.items():
                    file.write(json.dumps({"number": number, "way": way, "ids": ids}) + "\n")
                file.flush()
                if time.monotonic() - started > limit_s:
                    break


def read_answers(logs: Iterable[Path]) -> dict[str, dict[int, list[int]]]:
    """By way and number of the item, what `answer_for` wrote."""
    made: dict[str, dict[int, list[int]]] = {}
    for log in logs:
        for line in log.read_text().splitlines():
            row = json.loads(line)
            made.setdefault(row["way"], {})[row["number"]] = row["ids"]
    return made
