"""What saving 256k tokens costs on a GPU, and when the second question has its first token.

    python -m tests.benchmarks.saved_contexts_gpu [--tokens 262112 --tokens 32736] [--json]

Random weights of a shape, made on the device.  Files lie where --folder says; the page cache is
warm, as they were written just before.  The raw read is that of the same files by as many threads,
without checksums and without a copy to the device.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as the command line does, before torch

import runtime.contexts.saved
from runtime.contexts import ContextStore
from runtime.contexts.identity import numerics
from runtime.contexts.records import Identity
from runtime.engine import Engine
from runtime.shapes import shape
from tests.benchmarks.saved_contexts import QUESTION_TOKENS, Bench, raw_read_s

TOKENS = (262_144 - QUESTION_TOKENS, 32_768 - QUESTION_TOKENS)


def identity(engine: Engine) -> Identity:
    """Stands in for that of files, which random weights do not have."""
    return Identity("random", engine.scheme, numerics(engine.device, engine.precision), "none")


def stopped(bench: Bench, stops: list[int]) -> None:
    """Reads with chunks that end where checkpoints are, without saving: what they alone cost."""
    bench.cache.reset()
    bench.engine.prefill(bench.ids, bench.cache, stops=stops)


def measure(engine: Engine, tokens: int, folder: Path, repeats: int) -> dict[str, Any]:
    """Medians of reading, reading and saving, restoring, and of the raw read."""
    bench = Bench(engine, tokens)
    plain, saving, restored, raw = [], [], [], []
    nbytes, files, stops = 0, 0, [tokens]
    for _ in range(repeats):
        with tempfile.TemporaryDirectory(dir=folder) as own:
            store = ContextStore(Path(own))
            plain.append(bench.plain())
            saving.append(bench.saved(store, reused=0))
            restored += [bench.saved(store, reused=tokens), bench.saved(store, reused=tokens)]
            (context,) = store.contexts()
            paths = [context.path / each.file for each in context.segments]
            raw += [raw_read_s(paths), raw_read_s(paths)]
            stops = [segment.end for segment in context.segments]
            nbytes, files = context.nbytes, len(paths)
    stopped_s = bench.time(lambda: stopped(bench, stops)).wall
    read_s = statistics.median(each.wall for each in plain)
    save_s = statistics.median(each.wall for each in saving)
    restore_s = min(each.wall for each in restored)
    raw_s = min(raw)
    return {
        "tokens": tokens,
        "nbytes": nbytes,
        "files": files,
        "read_s": read_s,
        "read_and_save_s": save_s,
        "read_with_stops_s": stopped_s,
        "saving_percent": 100 * (save_s / read_s - 1),
        "restore_s": restore_s,
        "raw_read_s": raw_s,
        "restore_ratio": restore_s / raw_s,
        "second_question_s": statistics.median(each.token for each in restored),
    }


def main() -> None:
    """Prints a table, or one object whose figures are those of the longest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", default="mini")
    parser.add_argument("--scheme", default="fp8")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tokens", type=int, action="append")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    tokens = sorted(options.tokens or TOKENS, reverse=True)
    runtime.contexts.saved.identify = identity
    engine = Engine.random(
        shape(options.shape),
        device=options.device,
        scheme=options.scheme,
        context=tokens[0] + QUESTION_TOKENS,
    )
    found = [measure(engine, each, options.folder, options.repeats) for each in tokens]
    if options.json:
        print(json.dumps({**found[0], "all": found}))
        return
    for values in found:
        for name, value in values.items():
            print(
                f"{name:20}{value:16,.3f}" if isinstance(value, float) else f"{name:20}{value:16,}"
            )
        print()


if __name__ == "__main__":
    main()
