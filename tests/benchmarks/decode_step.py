"""What a decode step takes on a GPU: `python -m tests.benchmarks.decode_step mini int8 [CONTEXT]`.

By context: the captured step alone, and greedy tokens a second with all that is around it; then
what the kernels of one step add to it.  The cache is filled with noise instead of being read into,
so no prefill is waited for.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

from runtime.cache import HybridCache
from runtime.decode import DecodeStep
from runtime.engine import Engine
from runtime.sampling import SamplingParams
from runtime.shapes import shape

STEPS = 64


def noisy_cache(engine: Engine, context: int) -> HybridCache:
    """A cache that holds `context` tokens, with room to write."""
    cache = engine.new_cache(context + 8 * STEPS)
    for state in cache.attention_states:
        state.k.normal_()
        state.v.normal_()
    cache.filled(context)
    return cache


def step_ms(step: DecodeStep, cache: HybridCache) -> float:
    """What a step takes by itself, the mean of many that nobody waits for."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    step.run(cache, 1)
    step.top()
    begin.record()
    for _ in range(STEPS):
        step.run(cache, 1)
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / STEPS


def measure(engine: Engine, context: int) -> DecodeStep:
    """Prints one line."""
    cache = noisy_cache(engine, context)
    torch.cuda.synchronize()
    held, started = torch.cuda.memory_allocated(), time.perf_counter()
    step = engine.decoder.step(cache)
    assert step is not None, "the step could not be captured"
    torch.cuda.synchronize()
    capture_s = time.perf_counter() - started
    taken = torch.cuda.memory_allocated() - held
    alone_ms = step_ms(step, cache)
    started = time.perf_counter()
    params = SamplingParams(max_tokens=STEPS)
    list(engine.generate(cache, step.logits, params, stop_ids=()))
    step.top()
    rate = STEPS / (time.perf_counter() - started)
    print(
        f"{context:>9,} {alone_ms:>8.3f} ms {rate:>8.1f} tok/s   "
        f"capture {capture_s:>6.2f} s {taken / 1e6:>6.1f} MB"
    )
    return step


class Span(NamedTuple):
    """When a kernel ran, in microseconds."""

    name: str
    begin: float
    end: float


def added(spans: Iterable[Span]) -> dict[tuple[str, str, str], list[float]]:
    """What each kernel adds to the end of the one before, by the names before, of it, and behind.

    A kernel that is set up while another runs has begun long before it does anything: its own
    duration says nothing.
    """
    ordered = sorted(spans, key=lambda span: span.end)
    names = ["", *(span.name for span in ordered), ""]
    found: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    before = ordered[0].begin if ordered else 0.0
    for i, span in enumerate(ordered):
        found[names[i], span.name, names[i + 2]].append(span.end - before)
        before = span.end
    return found


def kernels(step: DecodeStep) -> None:
    """The kernels of one step, those that add the most first."""
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        assert step._graph is not None
        step._graph.replay()
        torch.cuda.synchronize()
    spans = [
        Span(event.name[:24], event.time_range.start, event.time_range.end)
        for event in profiled.events()
        if event.device_time > 0
    ]
    print(f"\n{'us':>9} {'calls':>6} {'each':>7}  after > kernel > before")
    for place, times in sorted(added(spans).items(), key=lambda item: -sum(item[1])):
        total = sum(times)
        print(f"{total:>9.1f} {len(times):>6} {total / len(times):>7.2f}  {' > '.join(place)}")


def main() -> None:
    """The shape and the scheme that the arguments name, at one context or at three."""
    name, scheme, *contexts = sys.argv[1:]
    context = [int(each) for each in contexts] or [8192, 65_536, 261_000]
    engine = Engine.random(shape(name), device="cuda", scheme=scheme, context=max(context))
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {name} {scheme}")
    with torch.inference_mode():
        for each in context:
            step = measure(engine, each)
        kernels(step)


if __name__ == "__main__":
    main()
