"""Reading prompts with the runtime's defaults for tiny ones, and what an oracle gives."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from runtime.cache import HybridCache
from runtime.contexts import ContextStore, Prefilled, prefill_saved
from runtime.engine import Engine

CHUNK = 16


def read(
    engine: Engine, ids: Sequence[int], store: ContextStore, **options
) -> tuple[Prefilled, HybridCache]:
    """`prefill_saved` into a new cache that has room for some tokens more."""
    cache = engine.new_cache(len(ids) + 20)
    options = {"chunk_tokens": CHUNK, "min_tokens": 1} | options
    return prefill_saved(engine, ids, cache, store, **options), cache


def uninterrupted(
    engine: Engine, ids: Sequence[int], stops: Collection[int], chunk_tokens: int = CHUNK
) -> tuple[Tensor, HybridCache]:
    """The logits of one prefill from nothing, by the engine alone."""
    cache = engine.new_cache(len(ids) + 20)
    return engine.prefill(ids, cache, chunk_tokens=chunk_tokens, stops=stops), cache


def same_bits(one: HybridCache, other: HybridCache) -> bool:
    """Whether two caches hold the same, bit for bit."""
    if one.position != other.position:
        return False
    pairs = [(a.conv, b.conv) for a, b in zip(one.mamba_states, other.mamba_states, strict=True)]
    pairs += [(a.ssm, b.ssm) for a, b in zip(one.mamba_states, other.mamba_states, strict=True)]
    for a, b in zip(one.attention_states, other.attention_states, strict=True):
        pairs += [
            (a.k[:, : a.length], b.k[:, : b.length]),
            (a.v[:, : a.length], b.v[:, : b.length]),
        ]
    return all(torch.equal(a, b) for a, b in pairs)
