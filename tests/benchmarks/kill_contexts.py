"""Kills processes at random moments while they read documents and save them, again and again.

    python -m tests.benchmarks.kill_contexts [--kills 60]

Two processes at a time read the same few documents with a tiny model.  Both are killed (SIGKILL)
after a random time.  Then: every context that a process reported as finished is there and whole,
every other one is whole up to its last checkpoint, every answer that was given is the right one,
bit for bit, and reading on from what is left gives the right one too.  In between, finished
contexts are removed, so that there is always something to write.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as the command line does, before torch

import torch

from runtime.contexts import ContextStore, Prefilled, checkpoints, prefill_saved
from runtime.engine import Engine
from tests.tiny_model import write_model

DOCUMENTS = 6
TOKENS = 1_500
SHARED = 700
CHUNK = 32
WRITERS = 2
LONGEST_S = 1.0
"""Of a round: some documents take that long together."""


def document(number: int) -> list[int]:
    """The ids of a document; all begin alike."""
    head, own = random.Random(-1), random.Random(number)
    ids = [head.randrange(256) for _ in range(SHARED)]
    return ids + [own.randrange(256) for _ in range(TOKENS - SHARED)]


def read(engine: Engine, store: ContextStore, number: int, *, save: bool) -> Prefilled:
    """Reads one document."""
    ids = document(number)
    cache = engine.new_cache(len(ids))
    return prefill_saved(engine, ids, cache, store, chunk_tokens=CHUNK, save=save)


def digest(prefilled: Prefilled) -> str:
    """The bits of the logits, in short."""
    return hashlib.sha256(prefilled.logits.numpy().tobytes()).hexdigest()[:16]


def load(model: Path) -> Engine:
    """The tiny model on one thread; contexts get many checkpoints."""
    torch.set_num_threads(1)
    checkpoints.FEWEST = 1_000
    return Engine.load(model, device="cpu")


def write_on(model: Path, root: Path, seed: int) -> None:
    """What the processes do that are killed: reads documents for ever, telling of each."""
    engine, store, rng = load(model), ContextStore(root), random.Random(seed)
    print("ready", flush=True)
    while True:
        number = rng.randrange(DOCUMENTS)
        got = read(engine, store, number, save=True)
        print(number, digest(got), got.context_id, len(got.notes), flush=True)


@dataclass(slots=True)
class Tally:
    """What was seen."""

    kills: int = 0
    finished: int = 0
    unfinished: int = 0
    leftovers: int = 0
    answers: int = 0
    reused: int = 0
    problems: list[str] = field(default_factory=list)


class Round:
    """Starts, kills and checks."""

    def __init__(self, folder: Path) -> None:
        self.model = write_model(folder / "model")
        self.root = folder / "contexts"
        self.store = ContextStore(self.root)
        self.engine = load(self.model)
        nowhere = ContextStore(folder / "none")
        self.right = [
            digest(read(self.engine, nowhere, number, save=False)) for number in range(DOCUMENTS)
        ]
        self.tally = Tally()

    def run(self, rng: random.Random) -> None:
        """One round."""
        command = [sys.executable, "-m", "tests.benchmarks.kill_contexts", "--child"]
        command += [str(self.model), str(self.root)]
        children = [
            subprocess.Popen([*command, str(rng.randrange(1 << 30))], stdout=subprocess.PIPE)
            for _ in range(WRITERS)
        ]
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
        time.sleep(rng.uniform(0, LONGEST_S))
        for child in children:
            child.kill()
        finished: set[str] = set()
        for child in children:
            lines = child.communicate()[0].decode().splitlines(keepends=True)
            for line in lines:
                if line.endswith("\n"):
                    self._answer(line.split(), finished)
        self.tally.kills += len(children)
        self._check(finished, rng)

    def _answer(self, words: list[str], finished: set[str]) -> None:
        number, bits, context_id, notes = words
        self.tally.answers += 1
        if bits != self.right[int(number)]:
            self.tally.problems.append(f"document {number}: a wrong answer was given")
        if notes != "0" or context_id == "None":
            self.tally.problems.append(f"document {number}: not saved, or something was noted")
        finished.add(context_id)

    def _check(self, finished: set[str], rng: random.Random) -> None:
        contexts = {context.id: context for context in self.store.contexts()}
        whole = {context.id for context in contexts.values() if context.complete}
        self.tally.finished += len(whole)
        self.tally.unfinished += len(contexts) - len(whole)
        self.tally.leftovers += len(list(self.root.glob("*/.*.partial")))
        problems = [f"finished context {each} is lost" for each in finished - whole]
        problems += [
            f"{context.id}: {problem}"
            for context in contexts.values()
            for problem in self.store.verify(context)
        ]
        for number in range(DOCUMENTS):
            got = read(self.engine, self.store, number, save=False)
            self.tally.reused += got.reused
            if digest(got) != self.right[number]:
                problems.append(f"document {number}: another answer after going on")
        self.tally.problems += problems
        self.store.collect()
        for context_id in rng.sample(sorted(whole), max(0, len(whole) - 1)):
            self.store.remove(context_id)


def kill_repeatedly(folder: Path, kills: int, seed: int) -> Tally:
    """Rounds until so many processes have been killed."""
    rng = random.Random(seed)
    rounds = Round(folder)
    while rounds.tally.kills < kills:
        rounds.run(rng)
    return rounds.tally


def main() -> None:
    """Prints what was seen; exit code 1 if anything was lost or wrong."""
    if sys.argv[1:2] == ["--child"]:
        model, root, seed = sys.argv[2:]
        write_on(Path(model), Path(root), int(seed))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seen = kill_repeatedly(Path(folder), options.kills, options.seed)
    print(f"{seen.kills} processes killed at random moments, {WRITERS} at a time")
    print(f"{seen.answers} answers given before, {seen.kills // WRITERS * DOCUMENTS} after, "
          f"for which {seen.reused:,} tokens were re-used")  # fmt: skip
    print(f"contexts left: {seen.finished} finished, {seen.unfinished} unfinished; "
          f"{seen.leftovers} files that were not finished")  # fmt: skip
    print(f"lost or wrong: {len(seen.problems)}")
    print("\n".join(seen.problems))
    sys.exit(bool(seen.problems))


if __name__ == "__main__":
    main()
