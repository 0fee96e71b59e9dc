"""Batches for the training stages, from the arrays that `dataset` writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """Token ids [b, l] and the weight of predicting each of them (0: no loss)."""

    ids: Tensor
    weights: Tensor


class TextRows:
    """Rows of running text from `text.<kind>.u16`, the kinds drawn by given shares."""

    def __init__(
        self, folder: Path, shares: Sequence[tuple[str, float]], seed: int, rank: int
    ) -> None:
        given = dict(shares)
        found = {kind: folder / f"text.{kind}.u16" for kind in given if given[kind] > 0}
        self.tokens = {k: np.fromfile(p, np.uint16) for k, p in found.items() if p.exists()}
        self.kinds = sorted(self.tokens)
        odds = np.array([given[kind] for kind in self.kinds])
        self.odds = odds / odds.sum()
        self.rng = np.random.default_rng(seed * 1000 + rank)

    def rows(self, count: int, length: int) -> NDArray[np.int64]:
        """Rows from random places, [count, length]."""
        rows = []
        for kind in self.rng.choice(len(self.kinds), size=count, p=self.odds):
            tokens = self.tokens[self.kinds[kind]]
            at = int(self.rng.integers(0, len(tokens) - length))
            rows.append(tokens[at : at + length])
        return np.stack(rows).astype(np.int64)

    def with_repeats(self, count: int, length: int, share: float) -> NDArray[np.int64]:
        """Like `rows`, but a share of them hold a passage twice."""
        rows = self.rows(count, length)
        for row in rows[: round(count * share)]:
            size = int(self.rng.integers(length // 16, length // 3))
            first = int(self.rng.integers(0, length - 2 * size))
            second = int(self.rng.integers(first + size, length - size + 1))
            row[second : second + size] = row[first : first + size]
        return rows


def copying_batch(text: TextRows, count: int, length: int) -> Batch:
    """Rows whose second half repeats passages of the first in a new order; loss on the repeats.

    The first tokens of a passage cannot be foreseen and carry no loss.
    """
    rows = text.rows(count, length)
    weights = np.zeros(rows.shape, np.float32)
    half = length // 2
    for row, weight in zip(rows, weights, strict=True):
        at = half
        while at < length - 24:
            size = min(int(text.rng.integers(24, 200)), length - at)
            start = int(text.rng.integers(0, half - size))
            row[at : at + size] = row[start : start + size]
            weight[at + 5 : at + size] = 1
            at += size
    return Batch(torch.from_numpy(rows), torch.from_numpy(weights))


class TaskRows:
    """Task sequences in files `<length>.<n>.npz`, dealt out to the processes by turns."""

    def __init__(self, folder: Path, seed: int, rank: int, world: int) -> None:
        self.folder, self.rank, self.world = folder, rank, world
        self.rng = np.random.default_rng(seed)
        self.arrays: dict[int, tuple[NDArray[np.uint16], NDArray[np.uint8]]] = {}
        self.orders: dict[int, list[int]] = {}
        self.epochs: dict[int, int] = {}
        for length in sorted({int(path.name.split(".")[0]) for path in folder.glob("*.npz")}):
            parts = [np.load(path) for path in sorted(folder.glob(f"{length}.*.npz"))]
            ids = np.concatenate([part["ids"] for part in parts])
            weights = np.concatenate([part["weights"] for part in parts])
            if len(ids):
                self.arrays[length] = ids, weights

    def tokens(self) -> dict[int, int]:
        """How many tokens there are of each length."""
        return {length: ids.size for length, (ids, _) in self.arrays.items()}

    def batch(self, length: int, count: int) -> Batch:
        """The next `count` rows of this process; the order is common to all processes."""
        ids, weights = self.arrays[length]
        picked: list[int] = []
        while len(picked) < count * self.world:
            order = self.orders.get(length)
            if not order:
                self.epochs[length] = self.epochs.get(length, -1) + 1
                order = self.orders[length] = self.rng.permutation(len(ids)).tolist()
            picked.append(order.pop())
        mine = picked[self.rank :: self.world]
        return Batch(
            torch.from_numpy(ids[mine].astype(np.int64)),
            torch.from_numpy(weights[mine].astype(np.float32)),
        )
