"""Turns examples and texts into arrays of token ids, with many processes."""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tiktoken

from runtime.distill.corpus import Text, load
from runtime.distill.examples import Example, ExampleMaker, Turn
from runtime.distill.layout import Layout
from runtime.distill.tokens import read_encoding

logger = logging.getLogger(__name__)

END_OF_TEXT, START, END = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Job:
    """One worker's share: rows of each length, from a seed of its own."""

    number: int
    rows: dict[int, int]
    seed: int


@dataclass(frozen=True, slots=True)
class Shared:
    """What all workers read."""

    texts: Sequence[Text]
    encoding: tiktoken.Encoding
    folder: Path


_shared: list[Shared] = []  # set before the workers fork


class Encoder:
    """Token ids of the chat layout that the command line sends."""

    def __init__(self, encoding: tiktoken.Encoding) -> None:
        self.encode = encoding.encode_ordinary
        self.reply = [END, *self.encode("\n"), START, *self.encode("assistant\n")]
        self.next = [*self.encode("\n"), START]

    def opening(self, prefix: str, task: str, *, split: bool = False) -> list[int]:
        """A user message and the start of the answer; `split` encodes prefix and task apart."""
        if split:
            ids = [*self.encode(f"user\n{prefix}"), *self.encode(task)]
        else:
            ids = self.encode(f"user\n{prefix}{task}")
        return [START, *ids, *self.reply]

    def answer(self, text: str) -> list[int]:
        """An answer with its end."""
        return [*self.encode(text), END]

    def follow_up(self, task: str) -> list[int]:
        """A later user message."""
        return [*self.next, *self.encode(f"user\n{task}"), *self.reply]

    def row(
        self, example: Example, length: int, rng: random.Random
    ) -> tuple[list[int], list[int]] | None:
        """Ids and weights of as many turns as fit; None if not even one does."""
        ids: list[int] = []
        weights: list[int] = []
        turns: list[Turn] = list(example.turns)
        for turn in turns:
            if ids:
                asked = self.follow_up(turn.task)
            else:
                asked = self.opening(example.prefix, turn.task, split=rng.random() < 0.3)
            answer = self.answer(turn.answer)
            if len(ids) + len(asked) + len(answer) <= length:
                ids += asked + answer
                weights += [0] * len(asked) + [1] * len(answer)
            elif not ids and len(asked) > length - 40:
                return None
        return (ids, weights) if ids else None


def make_rows(maker: ExampleMaker, encoder: Encoder, length: int, count: int) -> list[np.ndarray]:
    """`count` rows as (ids, weights) arrays [2, length]."""
    rows: list[np.ndarray] = []
    factor = 0.86
    while len(rows) < count:
        reserve = min(700, length // 4)
        example = maker.make(int((length - reserve) * factor))
        row = encoder.row(example, length, maker.rng) if example is not None else None
        if row is None:
            factor = max(0.6, factor - (0.004 if example is not None else 0))
            continue
        factor = min(1.1, factor + (0.004 if len(row[0]) < 0.9 * length else 0))
        both = np.full((2, length), END, np.uint16)
        both[1] = 0
        both[0, : len(row[0])], both[1, : len(row[1])] = row
        rows.append(both)
    return rows


def work(job: Job) -> int:
    """Makes and saves one worker's rows; returns how many tokens they hold."""
    shared = _shared[0]
    maker = ExampleMaker(Layout(), shared.texts, job.seed)
    encoder = Encoder(shared.encoding)
    total = 0
    for length, count in job.rows.items():
        rows = make_rows(maker, encoder, length, count)
        if rows:
            ids, weights = np.stack([row[0] for row in rows]), np.stack([row[1] for row in rows])
            path = shared.folder / f"{length}.{job.number}.npz"
            np.savez(path, ids=ids, weights=weights.astype(np.uint8))
            total += ids.size
    return total


def encode_texts(numbers: Sequence[int]) -> np.ndarray:
    """The running text of some texts, each ended by `<|endoftext|>`."""
    shared = _shared[0]
    pieces: list[int] = []
    for number in numbers:
        pieces += [*shared.encoding.encode_ordinary(shared.texts[number].text), END_OF_TEXT]
    return np.array(pieces, np.uint16)


def prepare(corpus: Path, tokenizer: Path, folder: Path) -> Sequence[Text]:
    """Loads what the workers share; rows go to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = load(corpus)
    _shared[:] = [Shared(texts, read_encoding(tokenizer), folder)]
    return texts


def build(
    corpus: Path,
    tokenizer: Path,
    folder: Path,
    *,
    tokens: int,
    shares: dict[int, float],
    workers: int | None = None,
    seed: int = 0,
) -> None:
    """Writes `text.<kind>.u16` and `tasks/<length>.<n>.npz` into a folder."""
    started = time.monotonic()
    texts = prepare(corpus, tokenizer, folder / "tasks")
    workers = workers or max(1, (os.cpu_count() or 2) - 2)
    order = list(range(len(texts)))
    random.Random(seed).shuffle(order)
    jobs = [
        Job(
            number,
            {n: max(1, int(tokens * share / n / workers)) for n, share in shares.items()},
            seed * 100_000 + number,
        )
        for number in range(workers)
    ]
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        for kind in sorted({text.kind for text in texts}):
            numbers = [number for number in order if texts[number].kind == kind]
            parts = pool.map(encode_texts, [numbers[i::64] for i in range(64)], chunksize=1)
            np.concatenate(parts).tofile(folder / f"text.{kind}.u16")
            million = sum(map(len, parts)) / 1e6
            logger.info("%s: %.1fM tokens, %.0f s", kind, million, time.monotonic() - started)
        (folder / "text.done").write_text("")
        made = sum(pool.imap_unordered(work, jobs))
    logger.info("tasks: %.1fM tokens, %.0f s", made / 1e6, time.monotonic() - started)
    (folder / "tasks.done").write_text("")
