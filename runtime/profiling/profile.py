"""One step of reading or writing at a depth, part by part, beside its floors."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import torch
from torch import Tensor

from runtime.bench import timed
from runtime.cache import HybridCache
from runtime.engine import Engine
from runtime.profiling.ceilings import Ceilings
from runtime.profiling.floors import loads, uses_fp8
from runtime.profiling.parts import Part
from runtime.profiling.timing import Kernel, part_times
from runtime.sampling import SamplingParams


@dataclass(frozen=True, slots=True)
class PartTime:
    """A part's seconds, its floor, and what the floor is made of."""

    part: Part
    seconds: float
    floor_s: float
    bound_by: str

    @property
    def reached(self) -> float:
        """The share of the ceiling: 1 is as fast as the machine can."""
        return self.floor_s / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Profile:
    """A step of `new` tokens on top of `past`: its seconds undisturbed, and those of its parts.

    `kernels` are the longest, on a GPU only; `launches` counts all of them.
    """

    past: int
    new: int
    step_s: float
    parts: tuple[PartTime, ...]
    kernels: tuple[Kernel, ...] = ()
    launches: int = 0

    @property
    def rest_s(self) -> float:
        """What no part has: waiting for launches, and on a GPU for the host.

        Below zero where a step is captured: see `profile_step`.
        """
        return self.step_s - sum(part.seconds for part in self.parts)

    @property
    def floor_s(self) -> float:
        """The parts' floors together."""
        return sum(part.floor_s for part in self.parts)


_SHOWN_KERNELS = 15


@torch.inference_mode()
def profile_step(
    engine: Engine, ceilings: Ceilings, past: int, new: int, *, repeats: int = 3
) -> Profile:
    """Takes a step apart: `new` tokens at once on top of a context of `past` random values.

    A decode step (`new` = 1) is timed as `generate` runs it and taken apart as a plain forward
    pass.  Where it is captured as a graph, that has fewer kernels, which get ready while the one
    before ends: its parts can then add up to more than the step.
    """
    cache = _filled(engine, past, new)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, engine.config.vocab_size, (new,), generator=generator)
    own, start = ids.to(engine.device), cache.snapshot()

    def step() -> Tensor:
        logits: Tensor = engine.model(own, cache, logits="last")
        return logits

    step_s = _step_seconds(engine, cache, ids.tolist(), repeats)
    cache.restore(start)
    step()
    cache.restore(start)
    times = part_times(engine.model, engine.device, step)
    parts = []
    for part, load in loads(engine, past, new).items():
        floor_s, bound = load.seconds(ceilings, fp8=uses_fp8(engine, part, new))
        parts.append(PartTime(part, times.seconds.get(part, 0.0), floor_s, bound))
    kernels = sorted(times.kernels.values(), key=lambda kernel: -kernel.seconds)
    launches = sum(kernel.count for kernel in kernels)
    present = tuple(part for part in parts if part.seconds or part.floor_s)
    return Profile(past, new, step_s, present, tuple(kernels[:_SHOWN_KERNELS]), launches)


_DECODE_STEPS = 32


def _step_seconds(engine: Engine, cache: HybridCache, ids: list[int], repeats: int) -> float:
    """The median seconds of a chunk, or of a decode step among others."""
    start, steps = cache.snapshot(), _DECODE_STEPS if len(ids) == 1 else 1
    logits = torch.zeros(engine.config.vocab_size, device=engine.device)
    params = SamplingParams(max_tokens=steps)

    def work() -> None:
        if len(ids) > 1:
            engine.prefill(ids, cache, chunk_tokens=len(ids))
            return
        for _token in engine.generate(cache, logits, params, stop_ids=()):
            pass

    seconds = []
    for _ in range(repeats + 1):
        seconds.append(timed(work, engine.device) / steps)
        cache.restore(start)
    return statistics.median(seconds[1:])


def _filled(engine: Engine, past: int, new: int) -> HybridCache:
    """A cache that holds `past` tokens' worth of noise: a kernel's power depends on its numbers."""
    cache = engine.new_cache(past + max(new, _DECODE_STEPS))
    for state in cache.attention_states:
        state.k.normal_()
        state.v.normal_()
    cache.filled(past)
    return cache
