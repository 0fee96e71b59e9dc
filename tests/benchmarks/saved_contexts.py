"""What saving a context costs, and what the second question about a document gains.

    python -m tests.benchmarks.saved_contexts [--tokens 8160] [--model nano] [--device cpu]

The same random tokens are read by the engine alone, read and saved, and restored; the file
system's cache is warm.  Beside the seconds that passed stand those of all processors together,
which other programs on the machine disturb less.  The raw read is that of the same files by as
many threads, without checksums.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as the command line does, before torch

import torch

from runtime.bench import synchronize
from runtime.cache import HybridCache
from runtime.contexts import Context, ContextStore, prefill_saved
from runtime.engine import Engine
from tests.benchmarks.restore_parts import raw_read_s

QUESTION_TOKENS = 32
"""What follows the document: always computed."""


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of one step, of it on all processors, and until a token could be drawn after it."""

    wall: float
    cpu: float
    token: float


class Bench:
    """One model, one document, one cache."""

    def __init__(self, engine: Engine, tokens: int) -> None:
        generator = torch.Generator().manual_seed(0)
        vocab = engine.config.vocab_size
        ids = torch.randint(0, vocab, (tokens + QUESTION_TOKENS,), generator=generator).tolist()
        self.engine, self.ids, self.question = engine, ids[:tokens], ids[tokens:]
        self.cache: HybridCache = engine.new_cache(len(ids))
        self.waited_s = 0.0  # that the last reading stood still for what it saved
        engine.prefill(ids[: engine.chunk_tokens], self.cache)

    def time(self, read: Callable[[], object]) -> Times:
        """Times reading the document and then a question."""
        wall, cpu = time.perf_counter(), time.process_time()
        read()
        synchronize(self.engine.device)
        document_s, cpu_s = time.perf_counter() - wall, time.process_time() - cpu
        int(self.engine.prefill(self.question, self.cache).argmax())
        return Times(document_s, cpu_s, time.perf_counter() - wall)

    def plain(self) -> Times:
        """The engine alone."""
        self.cache.reset()
        return self.time(lambda: self.engine.prefill(self.ids, self.cache))

    def saved(self, store: ContextStore, *, reused: int) -> Times:
        """With a store that has so many of the tokens."""
        notes: list[str] = []

        def read() -> None:
            got = prefill_saved(self.engine, self.ids, self.cache, store, min_tokens=1)
            notes.extend(got.notes)
            self.waited_s = got.save_s
            assert got.reused == reused, got.notes

        result = self.time(read)
        assert not notes, notes
        return result


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tokens", type=int, default=8_192 - QUESTION_TOKENS)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    engine = Engine.load(options.model, device=options.device)
    steps: dict[str, list[Times]] = {"read": [], "read and saved": [], "restored": []}
    raw: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(engine, options.tokens)
        for number in range(options.repeats):
            store = ContextStore(Path(folder) / str(number))
            steps["read"].append(bench.plain())
            steps["read and saved"].append(bench.saved(store, reused=0))
            steps["restored"].append(bench.saved(store, reused=options.tokens))
            (context,) = store.contexts()
            raw.append(raw_read_s([context.path / each.file for each in context.segments]))
    show(engine, options.tokens, context)
    print(f"{'':26}{'seconds':>10}{'CPU s':>10}{'to 1st token':>14}")
    medians = {
        name: [statistics.median(values) for values in zip(*map(astuple, times), strict=True)]
        for name, times in steps.items()
    }
    for name, (wall, cpu, token) in medians.items():
        print(f"{name:26}{wall:10.3f}{cpu:10.3f}{token:14.3f}")
    plain, saving, restored = medians.values()
    raw_s = statistics.median(raw)
    print(f"{'the same bytes, only read':26}{raw_s:10.3f}")
    print(f"saving: {100 * (saving[0] / plain[0] - 1):+.1f} % of the time, "
          f"{100 * (saving[1] / plain[1] - 1):+.1f} % of the processors' time")  # fmt: skip
    print(f"restoring: {context.nbytes / 1e6 / restored[0]:,.0f} MB/s; only reading: "
          f"{context.nbytes / 1e6 / raw_s:,.0f} MB/s")  # fmt: skip
    print(f"second question, to the first token: {100 * restored[2] / saving[2]:.1f} % of the "
          "first's time")  # fmt: skip


def show(engine: Engine, tokens: int, context: Context) -> None:
    """Says on what, and of what size."""
    if engine.device.type == "cuda":
        print(f"{torch.cuda.get_device_name(engine.device)}, torch {torch.__version__}")
    threads = torch.get_num_threads()
    capability = torch.backends.cpu.get_cpu_capability()
    print(f"{platform.machine()}, {threads} threads, {capability}, torch {torch.__version__}")
    print(f"{tokens:,} tokens in chunks of {engine.chunk_tokens:,}, {QUESTION_TOKENS} of question;")
    print(f"{context.nbytes / 1e6:.0f} MB in {len(context.segments)} files; medians")


if __name__ == "__main__":
    main()
