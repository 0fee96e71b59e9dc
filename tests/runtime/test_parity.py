"""Our forward pass against one full forward pass of the pinned transformers, however chunked."""

from __future__ import annotations

import random
from functools import cache

import pytest
import torch

from runtime.engine import Engine
from runtime.sampling import SamplingParams
from tests.helpers import GOLDEN_NAMES, assert_close, golden, golden_engine

engine = cache(golden_engine)


def read_in_chunks(model: Engine, ids: list[int], sizes: list[int]) -> torch.Tensor:
    memory = model.new_cache(len(ids))
    parts, start = [], 0
    with torch.inference_mode():
        for size in sizes:
            parts.append(model.model(torch.tensor(ids[start : start + size]), memory, logits="all"))
            start += size
    assert start == len(ids)
    return torch.cat(parts)


@pytest.mark.parametrize("name", GOLDEN_NAMES)
@pytest.mark.parametrize("chunk", [150, 1, 7, 64])
def test_logits_are_those_of_transformers(name, chunk):
    ids, logits = golden(name)
    assert_close(engine(name).score(ids, chunk_tokens=chunk), logits)


@pytest.mark.parametrize("name", ["default", "odd", "options"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_ragged_chunks_give_the_logits_of_the_whole(name, seed):
    ids, logits = golden(name)
    draw, sizes = random.Random(seed), []
    while sum(sizes) < len(ids):
        sizes.append(min(draw.choice([1, 2, 3, 5, 16, 31, 63]), len(ids) - sum(sizes)))
    assert_close(read_in_chunks(engine(name), ids, sizes), logits)


@pytest.mark.parametrize("name", ["default", "dense-tied", "options"])
def test_greedy_generation_is_recomputing_everything_at_each_token(name):
    model = engine(name)
    ids, _ = golden(name)
    ids = ids[:40]
    memory = model.new_cache(64)
    logits = model.prefill(ids, memory, chunk_tokens=7)
    params = SamplingParams(max_tokens=20)
    generated = [t.id for t in model.generate(memory, logits, params, stop_ids=())]
    for number, token in enumerate(generated):
        assert token == int(model.score(ids + generated[:number])[-1].argmax())


def test_the_last_logits_of_prefill_are_the_last_row_of_score():
    model = engine("odd")
    ids, logits = golden("odd")
    seen = []
    last = model.prefill(
        ids,
        model.new_cache(150),
        chunk_tokens=64,
        on_chunk=lambda d, t, c: seen.append((d, t, c.position)),
    )
    assert_close(last, logits[-1])
    assert seen == [(64, 150, 64), (128, 150, 128), (150, 150, 150)]
