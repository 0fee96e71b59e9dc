"""How fast an engine reads and writes, measured the same way for every model and device."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch

from runtime.engine import Engine
from runtime.sampling import SamplingParams


@dataclass(frozen=True, slots=True)
class Measurement:
    """One length: tokens and seconds."""

    prompt_tokens: int
    prefill_s: float
    decode_tokens: int
    decode_s: float

    @property
    def prefill_rate(self) -> float:
        """Tokens a second of prefill."""
        return self.prompt_tokens / self.prefill_s

    @property
    def decode_rate(self) -> float:
        """Tokens a second of decode, after a prompt of this length."""
        return self.decode_tokens / self.decode_s


def measure(
    engine: Engine,
    prompt_tokens: int,
    *,
    decode_tokens: int = 32,
    chunk_tokens: int | None = None,
    repeats: int = 3,
) -> Measurement:
    """Times prefill of random tokens and greedy decode after it; medians of `repeats`.

    The first pass over a length warms up and is not counted.
    """
    generator = torch.Generator().manual_seed(0)
    vocab = engine.config.vocab_size
    ids = torch.randint(0, vocab, (prompt_tokens,), generator=generator).tolist()
    cache = engine.new_cache(prompt_tokens + decode_tokens)
    params = SamplingParams(max_tokens=decode_tokens)
    logits = engine.prefill(ids[: engine.chunk_tokens], cache)
    list(engine.generate(cache, logits, SamplingParams(max_tokens=1), stop_ids=()))
    prefills, decodes = [], []
    for _ in range(repeats):
        cache.reset()
        _synchronize(engine.device)
        started = time.perf_counter()
        logits = engine.prefill(ids, cache, chunk_tokens=chunk_tokens)
        _synchronize(engine.device)
        middle = time.perf_counter()
        for _token in engine.generate(cache, logits, params, stop_ids=()):
            pass
        _synchronize(engine.device)
        prefills.append(middle - started)
        decodes.append(time.perf_counter() - middle)
    return Measurement(
        prompt_tokens, statistics.median(prefills), decode_tokens, statistics.median(decodes)
    )


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
