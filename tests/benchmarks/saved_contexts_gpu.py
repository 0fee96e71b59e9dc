"""What saving 256k tokens costs on a GPU, and when further questions have their first token.

    python -m tests.benchmarks.saved_contexts_gpu [--tokens 262112 --tokens 32736] [--thin] [--json]

Random weights of a shape, made on the device.  Files lie where --folder says.  The raw read is
that of the same files by as many threads, without checksums and without a copy to the device.
Restore and raw read are timed twice: from a warm page cache, as the files were written just before,
and, as `..._cold_...`, after an fsync and posix_fadvise(POSIX_FADV_DONTNEED) on every one of them;
null where mincore says that the file system keeps them in memory all the same.  What the disk or
the machine around this one keeps is not dropped.  `hash_only_s` and `copy_only_s` are parts of a
restore alone: checksums of as many bytes by the same threads, and copies of as many bytes from
pinned memory to the cache.  The first restore of the process also pins that memory.

Reading and reading with saving take turns, after one of each that does not count: it compiles, and
plans products of lengths that are new.  `saving_percent` is of the medians, `saving_least_percent`
of the shortest of each, and lasts until the files are finished; `saving_wait_s` of it is what the
run stood still, most of it at the end, for the last files.  Short documents are read more often.

`second_question_s` is that of another process: the restore and a question.  `chat_..._question_s`
are of questions inside `jamba chat`, see chat_step.py; their document leaves room for the turns.

With --thin there are no experts and next to no feed-forwards: contexts and what restores them are
the same, but they are made sooner, and the figures of reading are not the shape's.
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
from runtime.config import JambaConfig
from runtime.contexts import ContextStore
from runtime.contexts.identity import numerics
from runtime.contexts.records import Identity
from runtime.engine import Engine
from runtime.shapes import SHAPES, shape
from tests.benchmarks.chat_step import chat_step, prose_reader
from tests.benchmarks.restore_parts import (
    checked_nbytes,
    copy_only_s,
    hash_only_s,
    made_cold,
    raw_read_s,
)
from tests.benchmarks.saved_contexts import QUESTION_TOKENS, Bench, Times

TOKENS = (262_144 - QUESTION_TOKENS, 32_768 - QUESTION_TOKENS)

REPEATED_TOKENS = 1 << 19
"""Without --repeats a document is read as often as makes so many tokens, FEWEST to MOST times."""

FEWEST, MOST = 2, 8

THIN = {"num_experts": 1, "intermediate_size": 256}
"""A shape of other feed-forwards: nothing that is stored depends on them."""


def identity(engine: Engine) -> Identity:
    """Stands in for that of files, which random weights do not have."""
    return Identity("random", engine.scheme, numerics(engine.device, engine.precision), "none")


def stopped(bench: Bench, stops: list[int]) -> None:
    """Reads with chunks that end where checkpoints are, without saving: what they alone cost."""
    bench.cache.reset()
    bench.engine.prefill(bench.ids, bench.cache, stops=stops)


def cold(bench: Bench, store: ContextStore, paths: list[Path]) -> tuple[float, float] | None:
    """Seconds of a restore and of a raw read, each from files that are not in the page cache."""
    if not made_cold(paths):
        return None
    restored_s = bench.saved(store, reused=len(bench.ids)).wall
    return (restored_s, raw_read_s(paths)) if made_cold(paths) else None


def saving_cost(bench: Bench, folder: Path, repeats: int) -> dict[str, float]:
    """Reading, and reading and saving, in turn."""
    plain: list[Times] = []
    saving: list[Times] = []
    waited: list[float] = []
    for _ in range(1 + repeats):
        plain.append(bench.plain())
        with tempfile.TemporaryDirectory(dir=folder) as own:
            saving.append(bench.saved(ContextStore(Path(own)), reused=0))
            waited.append(bench.waited_s)
    read_s, save_s = ([each.wall for each in times[1:]] for times in (plain, saving))
    return {
        "read_s": statistics.median(read_s),
        "read_least_s": min(read_s),
        "read_most_s": max(read_s),
        "read_and_save_s": statistics.median(save_s),
        "read_and_save_least_s": min(save_s),
        "read_and_save_most_s": max(save_s),
        "saving_percent": 100 * (statistics.median(save_s) / statistics.median(read_s) - 1),
        "saving_least_percent": 100 * (min(save_s) / min(read_s) - 1),
        "saving_wait_s": statistics.median(waited[1:]),
    }


def restoring(bench: Bench, folder: Path, repeats: int) -> dict[str, Any]:
    """The best of restoring and of the raw read, warm and cold, and parts of them alone."""
    with tempfile.TemporaryDirectory(dir=folder) as own:
        store = ContextStore(Path(own))
        bench.saved(store, reused=0)
        (context,) = store.contexts()
        paths = [context.path / each.file for each in context.segments]
        restored, raw, hashed = [], [], []
        for _ in range(2 * repeats):
            restored.append(bench.saved(store, reused=len(bench.ids)))
            raw.append(raw_read_s(paths))
            hashed.append(hash_only_s(checked_nbytes(context)))
        pairs = [pair for _ in range(repeats) if (pair := cold(bench, store, paths))]
    stops = [segment.end for segment in context.segments]
    restore_s, raw_s = min(each.wall for each in restored), min(raw)
    restore_cold_s, raw_cold_s = map(min, zip(*pairs, strict=True)) if pairs else (None, None)
    return {
        "nbytes": context.nbytes,
        "files": len(paths),
        "read_with_stops_s": bench.time(lambda: stopped(bench, stops)).wall,
        "first_restore_s": restored[0].wall,
        "restore_s": restore_s,
        "raw_read_s": raw_s,
        "restore_ratio": restore_s / raw_s,
        "restore_cold_s": restore_cold_s,
        "raw_read_cold_s": raw_cold_s,
        "restore_cold_ratio": restore_cold_s / raw_cold_s if pairs else None,
        "hash_only_s": min(hashed),
        "copy_only_s": min(
            copy_only_s(bench.cache, context, bench.engine.device) for _ in range(3)
        ),
        "second_question_s": statistics.median(each.token for each in restored),
    }


def measure(engine: Engine, tokens: int, folder: Path, repeats: int | None) -> dict[str, Any]:
    """All of a document of random ids, without the chat."""
    bench = Bench(engine, tokens)
    repeats = repeats or min(MOST, max(FEWEST, REPEATED_TOKENS // tokens))
    return {
        "tokens": tokens,
        "repeats": repeats,
        **saving_cost(bench, folder, repeats),
        **restoring(bench, folder, repeats),
    }


def measure_chat(engine: Engine, tokens: int, folder: Path) -> dict[str, Any]:
    """A chat whose context is as long as such a document and a question."""
    with tempfile.TemporaryDirectory(dir=folder) as own:
        reader = prose_reader(Path(own))
        return chat_step(engine, reader, tokens + QUESTION_TOKENS, Path(own) / "contexts")


def main() -> None:
    """Prints a table, or one object whose figures are those of the longest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", default="mini")
    parser.add_argument("--scheme", default="fp8")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tokens", type=int, action="append")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--thin", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    tokens = sorted(options.tokens or TOKENS, reverse=True)
    runtime.contexts.saved.identify = identity
    config = shape(options.shape)
    if options.thin:
        config = JambaConfig.from_dict(SHAPES[options.shape] | THIN, source="a thin shape")
    engine = Engine.random(
        config,
        device=options.device,
        scheme=options.scheme,
        context=tokens[0] + QUESTION_TOKENS,
    )
    found = [
        measure(engine, each, options.folder, options.repeats)
        | measure_chat(engine, each, options.folder)
        for each in tokens
    ]
    if options.json:
        print(json.dumps({**found[0], "all": found}))
        return
    for values in found:
        for name, value in values.items():
            number = f"{value:,.3f}" if isinstance(value, float) else f"{value:,}" if value else "-"
            print(f"{name:24}{number:>16}")
        print()


if __name__ == "__main__":
    main()
