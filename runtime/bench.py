"""How fast an engine reads and writes, measured the same way for every model and device."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from runtime import memory
from runtime.engine import Engine
from runtime.sampling import SamplingParams


@dataclass(frozen=True, slots=True)
class Measurement:
    """One length: tokens, seconds, and on a GPU the peak of its memory beside the plan's figure.

    `device_peak` is what tensors took, `device_reserved` what the process held for them;
    `planned` is the plan without its margin.
    """

    prompt_tokens: int
    prefill_s: float
    decode_tokens: int
    decode_s: float
    cache_bytes: int
    planned: int
    device_peak: int | None = None
    device_reserved: int | None = None

    @property
    def prefill_rate(self) -> float:
        """Tokens a second of prefill."""
        return self.prompt_tokens / self.prefill_s

    @property
    def decode_rate(self) -> float:
        """Tokens a second of decode, after a prompt of this length."""
        return self.decode_tokens / self.decode_s


class Reading:
    """A prompt of random tokens and a cache for it and `decode_tokens` more."""

    def __init__(
        self,
        engine: Engine,
        prompt_tokens: int,
        *,
        decode_tokens: int = 32,
        chunk_tokens: int | None = None,
    ) -> None:
        generator = torch.Generator().manual_seed(0)
        vocab = engine.config.vocab_size
        self.engine = engine
        self.ids = torch.randint(0, vocab, (prompt_tokens,), generator=generator).tolist()
        self.decode_tokens = decode_tokens
        self.chunk_tokens = engine.chunk_tokens if chunk_tokens is None else chunk_tokens
        memory.forget_peak(engine.device)
        self.cache = engine.new_cache(prompt_tokens + decode_tokens)

    def prefill(self, repeats: int) -> list[float]:
        """Seconds of each pass over the prompt; the cache ends as the last one left it.

        Before it a chunk of each size that occurs is read, so that what is made on first use,
        such as compiled kernels, is not counted.
        """
        chunk, length = min(self.chunk_tokens, len(self.ids)), len(self.ids)
        sizes = [chunk, length % chunk or min(chunk, length - chunk)]
        for size in filter(None, sizes):
            self.engine.prefill(self.ids[:size], self.cache, chunk_tokens=chunk)

        def read() -> None:
            self.cache.reset()
            self._logits = self.engine.prefill(self.ids, self.cache, chunk_tokens=chunk)

        return [timed(read, self.engine.device) for _ in range(repeats)]

    def decode(self, repeats: int) -> list[float]:
        """Seconds of each greedy decode from the end of the prompt, which has been read.

        The prompt is read once: every pass goes back to its end.  The first is not counted.
        """
        params = SamplingParams(max_tokens=self.decode_tokens)
        end = self.cache.snapshot()

        def write() -> None:
            for _token in self.engine.generate(self.cache, self._logits, params, stop_ids=()):
                pass

        seconds = []
        for _ in range(repeats + 1):
            seconds.append(timed(write, self.engine.device))
            self.cache.restore(end)
        self.cache.forget(end)
        return seconds[1:]

    def planned_bytes(self) -> int:
        """What the plan says that weights, cache and workspace take for this prompt."""
        setup = self.engine.setup
        assert setup is not None  # `Engine.load` and `Engine.random` make one
        plan = setup.planner.plan(setup.quantization, self.cache.max_tokens, self.chunk_tokens)
        return plan.total - plan.headroom

    def measurement(self, prefills: list[float], decodes: list[float]) -> Measurement:
        """The medians, and the memory that was taken since the cache was made."""
        peak = memory.device_peaks(self.engine.device)
        return Measurement(
            len(self.ids),
            statistics.median(prefills),
            self.decode_tokens,
            statistics.median(decodes),
            self.cache.nbytes,
            self.planned_bytes(),
            *(peak or (None, None)),
        )


def measure(
    engine: Engine,
    prompt_tokens: int,
    *,
    decode_tokens: int = 32,
    chunk_tokens: int | None = None,
    repeats: int = 3,
) -> Measurement:
    """Times prefill of random tokens and greedy decode after it; medians of `repeats`.

    What is done only once, such as compiling kernels, is done before and not counted.
    """
    reading = Reading(engine, prompt_tokens, decode_tokens=decode_tokens, chunk_tokens=chunk_tokens)
    prefills = reading.prefill(repeats)
    return reading.measurement(prefills, reading.decode(repeats))


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds until the work is done on the device too."""
    synchronize(device)
    started = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - started


def synchronize(device: torch.device) -> None:
    """Waits for what a GPU was given to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
