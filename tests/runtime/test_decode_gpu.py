"""Captured steps in bf16 at the lengths they are for; what is exact is tested in fp32 elsewhere."""

from __future__ import annotations

import pytest
import torch

from runtime.config import JambaConfig
from runtime.engine import Engine
from runtime.sampling import SamplingParams
from runtime.shapes import SHAPES
from tests.helpers import assert_close

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

# Dense: a router between two experts that are as likely may go either way by the last bit.
CONFIG = JambaConfig.from_dict(SHAPES["3b"] | {"num_hidden_layers": 9, "vocab_size": 5000})
LENGTHS = [1, 100, 4097, 70_000, 140_000]


def ids(count: int) -> list[int]:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, CONFIG.vocab_size, (count,), generator=generator).tolist()


@pytest.mark.parametrize("scheme", ["none", "int8", "fp8", "nf4"])
def test_a_graph_is_the_ordinary_forward_across_a_growing_context(scheme):
    engine = Engine.random(CONFIG, device="cuda", scheme=scheme, context=2 * 141_000)
    text = ids(LENGTHS[-1] + 10)
    memory = engine.new_cache(len(text))
    steps = set()
    for length in LENGTHS:
        engine.prefill(text[memory.position : length], memory)
        here = memory.snapshot()
        wanted = [engine.prefill([token], memory).clone() for token in text[length : length + 5]]
        states = [state.ssm.clone() for state in memory.mamba_states]
        memory.restore(here)
        step = engine.decoder.step(memory)
        assert step is not None
        assert step._graph is not None
        steps.add(step)
        for token, logits in zip(text[length : length + 5], wanted, strict=True):
            step.run(memory, token)
            assert_close(step.logits, logits, torch.bfloat16)
            assert step.top()[0] == int(step.logits.argmax())
        for state, ssm in zip(memory.mamba_states, states, strict=True):
            # Not the largest error: a few states of slow decay hold most of the spread.
            assert (state.ssm - ssm).square().mean().sqrt() < 0.04 * ssm.square().mean().sqrt()
        assert all(state.length == length + 5 for state in memory.attention_states)
        memory.restore(here)
    assert len(steps) == 1, "one graph serves every length"


def test_what_a_graph_writes_is_repeated_by_it():
    """Same place, same bits: also with another cache's graph in between."""
    engine = Engine.random(CONFIG, device="cuda", scheme="int8", context=20_000)
    params, text = SamplingParams(max_tokens=40), ids(9000)
    answers = []
    memory, other = engine.new_cache(9100), engine.new_cache(300)
    logits, others = engine.prefill(text, memory), engine.prefill(text[:200], other)
    here, there = memory.snapshot(), other.snapshot()
    for _ in range(3):
        for cache, first, place in ((memory, logits, here), (other, others, there)):
            answers.append([t.id for t in engine.generate(cache, first, params, stop_ids=())])
            cache.restore(place)
    assert answers[0::2] == [answers[0]] * 3
    assert answers[1::2] == [answers[1]] * 3


def test_a_graph_takes_little_memory():
    engine = Engine.random(CONFIG, device="cuda", context=20_000)
    caches = [engine.new_cache(1000) for _ in range(8)]
    for cache in caches:
        engine.prefill(ids(10), cache)
    before = torch.cuda.memory_allocated()
    for cache in caches:
        assert engine.decoder.step(cache) is not None
    assert torch.cuda.memory_allocated() - before < 200e6
