"""The decode step beside the forward pass of a chunk of one, and the cache after it.

Without a GPU the same step runs without a graph; with one, as the graph.
"""

from __future__ import annotations

import gc
import logging
import weakref

import pytest
import torch

from runtime.cache import AttentionState, HybridCache
from runtime.decode import Decoder
from runtime.devices import EXACT
from runtime.engine import Engine
from runtime.errors import BudgetError, ModelError
from runtime.sampling import SamplingParams
from tests.helpers import GOLDEN, assert_close, golden

HAS_GPU = torch.cuda.is_available()
GPU = [pytest.mark.gpu, pytest.mark.skipif(not HAS_GPU, reason="no CUDA device")]
GREEDY = SamplingParams(max_tokens=12)


def load(name: str, device: str, scheme: str = "none") -> Engine:
    engine = Engine.load(GOLDEN / name, device=device, precision=EXACT, scheme=scheme)
    if device == "cpu":
        engine.decoder = Decoder(engine.model, engine.device, plain=True)
    return engine


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=GPU)])
def where(request) -> str:
    return request.param


@pytest.fixture
def engine(where) -> Engine:
    return load("odd", where)


@pytest.fixture(scope="module")
def ids() -> list[int]:
    return golden("odd")[0]


def written(engine: Engine, cache: HybridCache, logits, params=GREEDY, **options) -> list[int]:
    return [token.id for token in engine.generate(cache, logits, params, stop_ids=(), **options)]


def without_steps(engine: Engine, prompt: list[int], params=GREEDY, **options):
    """What the ordinary forward writes after a prompt, and the cache then."""
    memory = engine.new_cache(len(prompt) + params.max_tokens)
    logits = engine.prefill(prompt, memory)
    own, engine.decoder = engine.decoder, Decoder(engine.model, torch.device("cpu"))
    tokens = written(engine, memory, logits, params, **options)
    engine.decoder = own
    return tokens, memory


def assert_same(got: HybridCache, wanted: HybridCache) -> None:
    """Positions, filled keys and values, and states; the caches may be of different sizes."""
    assert got.position == wanted.position
    for own, other in zip(got.states, wanted.states, strict=True):
        if isinstance(own, AttentionState):
            assert own.length == other.length == got.position
            for name in ("k", "v"):
                rows = [getattr(each, name)[:, : got.position].cpu() for each in (own, other)]
                assert_close(*rows)
        else:
            assert_close(own.conv.cpu(), other.conv.cpu())
            assert_close(own.ssm.cpu(), other.ssm.cpu())


@pytest.mark.parametrize("name", ["default", "odd", "dense-tied", "narrow", "options"])
@pytest.mark.parametrize("scheme", ["none", "int8", "fp8", "nf4"])
def test_steps_write_what_the_ordinary_forward_writes(where, name, scheme, monkeypatch):
    engine, prompt = load(name, where, scheme), golden(name)[0][:50]
    tokens, wanted = without_steps(engine, prompt)
    memory = engine.new_cache(90)
    logits = engine.prefill(prompt, memory)
    monkeypatch.setattr(engine.model, "forward", None)  # nothing but the step is asked
    assert written(engine, memory, logits) == tokens
    assert_same(memory, wanted)


def test_logits_of_a_step_are_those_of_the_ordinary_forward(engine, ids):
    memory, other = engine.new_cache(150), engine.new_cache(150)
    engine.prefill(ids[:20], memory)
    engine.prefill(ids[:20], other)
    step = engine.decoder.step(memory)
    for token in ids[20:40]:
        step.run(memory, token)
        wanted = engine.prefill([token], other)
        assert_close(step.logits, wanted)
        best, logit = step.top()
        assert best == int(wanted.argmax())
        assert logit == pytest.approx(float(wanted.max()), rel=1e-4)
    assert_same(memory, other)


def test_making_a_step_leaves_the_cache_as_it_is(engine, ids):
    memory = engine.new_cache(100)
    engine.prefill(ids[:40], memory)
    before = [t.clone() for s in memory.states for t in _tensors(s)]
    assert engine.decoder.step(memory) is not None
    for now, then in zip([t for s in memory.states for t in _tensors(s)], before, strict=True):
        assert torch.equal(now, then)
    assert memory.position == 40


def _tensors(state) -> list[torch.Tensor]:
    return [state.k, state.v] if isinstance(state, AttentionState) else [state.conv, state.ssm]


def test_one_step_serves_answer_after_answer_and_places_come_back_to(engine, ids):
    """Also a prompt that grows in between, so that the length does too."""
    memory = engine.new_cache(150)
    logits = engine.prefill(ids[:30], memory)
    here = memory.snapshot()
    first = written(engine, memory, logits)
    step = engine.decoder.step(memory)
    assert first == without_steps(engine, ids[:30])[0]
    memory.restore(here)
    assert written(engine, memory, logits) == first
    memory.restore(here)
    logits = engine.prefill(ids[30:100], memory)
    tokens, wanted = without_steps(engine, ids[:100])
    assert written(engine, memory, logits) == tokens
    assert_same(memory, wanted)
    memory.reset()
    assert written(engine, memory, engine.prefill(ids[:30], memory)) == first
    assert engine.decoder.step(memory) is step


def test_two_caches_take_turns(engine, ids):
    prompts = [ids[:25], ids[60:130]]
    memories = [engine.new_cache(120) for _ in prompts]
    writers = [
        engine.generate(memory, engine.prefill(prompt, memory), GREEDY, stop_ids=())
        for prompt, memory in zip(prompts, memories, strict=True)
    ]
    got = [[], []]
    for _ in range(GREEDY.max_tokens):
        for tokens, writer in zip(got, writers, strict=True):
            tokens.append(next(writer).id)
    for prompt, tokens, memory in zip(prompts, got, memories, strict=True):
        wanted, other = without_steps(engine, prompt)
        assert tokens == wanted
        assert_same(memory, other)


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(max_tokens=12, temperature=1.5, top_p=0.9, seed=3),
        SamplingParams(max_tokens=12, temperature=1.0, seed=4, repetition_penalty=1.3),
        SamplingParams(max_tokens=12, repetition_penalty=1.5),
    ],
)
def test_drawn_tokens_are_those_of_the_ordinary_forward(engine, ids, params):
    memory = engine.new_cache(60)
    tokens = written(engine, memory, engine.prefill(ids[:40], memory), params, prompt_ids=ids[:40])
    assert tokens == without_steps(engine, ids[:40], params, prompt_ids=ids[:40])[0]


class Repeats:
    """Bars what was written last and forces the same id twice again after every third token."""

    def __call__(self, generated, logits, look):
        guided = logits.clone()
        guided[list(generated[-1:])] = -torch.inf
        return guided

    def forced(self, generated):
        return generated[-1:] * 2 if len(generated) % 3 == 0 else []


def test_a_guide_s_runs_lie_between_steps(engine, ids):
    memory = engine.new_cache(60)
    tokens = written(engine, memory, engine.prefill(ids[:40], memory), guide=Repeats())
    wanted, other = without_steps(engine, ids[:40], guide=Repeats())
    assert tokens == wanted
    assert_same(memory, other)


def test_a_cache_whose_tensors_were_replaced_gets_a_new_step(engine, ids):
    memory = engine.new_cache(60)
    logits = engine.prefill(ids[:40], memory)
    step = engine.decoder.step(memory)
    state = memory.mamba_states[0]
    state.ssm = state.ssm.clone()
    assert written(engine, memory, logits) == without_steps(engine, ids[:40])[0]
    assert engine.decoder.step(memory) is not step


def test_a_step_is_freed_with_its_cache(engine, ids):
    memory = engine.new_cache(60)
    written(engine, memory, engine.prefill(ids[:40], memory))
    step = weakref.ref(engine.decoder.step(memory))
    assert step() is not None
    del memory
    gc.collect()
    assert step() is None


def test_the_end_of_the_cache_is_told_before_anything_is_written(engine, ids):
    memory = engine.new_cache(45)
    with pytest.raises(BudgetError):
        written(engine, memory, engine.prefill(ids[:40], memory))
    assert memory.position == 45


def test_damaged_weights_show_as_logits_that_are_not_numbers(where, ids):
    engine = load("odd", where)
    memory = engine.new_cache(60)
    logits = engine.prefill(ids[:40], memory)
    engine.model.final_layernorm.weight.data.fill_(torch.nan)
    with pytest.raises(ModelError, match="NaN"):
        written(engine, memory, logits)


def test_a_cpu_has_no_steps(ids):
    engine = Engine.load(GOLDEN / "odd", device="cpu", precision=EXACT)
    assert engine.decoder.step(engine.new_cache(10)) is None


def test_a_step_that_can_not_be_captured_is_told_once(caplog, monkeypatch, ids):
    engine = Engine.load(GOLDEN / "odd", device="cpu", precision=EXACT)
    wanted = without_steps(engine, ids[:40])[0]
    monkeypatch.setattr("runtime.decode._has_kernels", lambda _: True)
    monkeypatch.setattr(Decoder, "_capture", fails)
    engine.decoder = Decoder(engine.model, engine.device)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            memory = engine.new_cache(60)
            assert written(engine, memory, engine.prefill(ids[:40], memory)) == wanted
    assert [record.getMessage() for record in caplog.records] == [
        "decoding runs without a CUDA graph, slowly: out of memory; "
        "a smaller --context leaves more memory, `jamba doctor` tells more"
    ]


def fails(self, step):
    raise RuntimeError("out of memory\nand a long story")


def test_a_gpu_without_kernels_decodes_without_a_graph_and_says_so(fresh_dispatch, caplog):
    fresh_dispatch.setenv("JAMBA_KERNELS", "reference")
    decoder = Decoder(load("odd", "cpu").model, torch.device("cuda"))
    memory = load("odd", "cpu").new_cache(10)
    with caplog.at_level(logging.WARNING):
        assert [decoder.step(memory) for _ in range(2)] == [None, None]
    assert [record.getMessage() for record in caplog.records] == [
        "decoding runs without a CUDA graph, slowly: it needs the kernels; "
        "pip install triton, and leave JAMBA_KERNELS unset"
    ]
