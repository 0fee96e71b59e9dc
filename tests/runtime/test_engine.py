"""The public API: prefill, generate, score, and what they refuse."""

from __future__ import annotations

import pytest
import torch

import runtime
from runtime.engine import Engine
from runtime.errors import BudgetError, ModelError, UsageError
from runtime.sampling import Sampler, SamplingParams
from tests.helpers import GOLDEN, assert_close, golden, golden_engine


@pytest.fixture(scope="module")
def model():
    return golden_engine("odd")


@pytest.fixture(scope="module")
def ids():
    return golden("odd")[0]


def test_the_public_names_are_there():
    assert runtime.Engine is Engine
    assert set(runtime.__all__) == {"Engine", "HybridCache", "JambaConfig", "SamplingParams"}
    with pytest.raises(AttributeError):
        runtime.Motor  # noqa: B018


def test_a_prompt_that_does_not_fit_is_refused_before_anything_is_read(model, ids):
    memory = model.new_cache(100)
    with pytest.raises(BudgetError, match="150 more do not fit a cache of 100"):
        model.prefill(ids, memory)
    assert memory.position == 0
    model.prefill(ids[:90], memory)
    with pytest.raises(BudgetError, match="90 tokens read and 11 more"):
        model.prefill(ids[:11], memory)
    assert memory.position == 90


def test_generation_ends_at_a_stop_id_at_max_tokens_and_at_the_end_of_the_cache(model, ids):
    memory = model.new_cache(60)
    logits = model.prefill(ids[:50], memory)
    free = [t.id for t in model.generate(memory, logits, SamplingParams(max_tokens=5), stop_ids=())]
    assert len(free) == 5
    assert memory.position == 55

    memory = model.new_cache(60)
    logits = model.prefill(ids[:50], memory)
    stop = free[2]
    tokens = list(model.generate(memory, logits, SamplingParams(max_tokens=5), stop_ids={stop}))
    first = free.index(stop)
    assert [t.id for t in tokens] == free[: first + 1]
    assert [t.is_stop for t in tokens] == [False] * first + [True]
    assert memory.position == 50 + first  # the stop itself is not read

    memory = model.new_cache(52)
    logits = model.prefill(ids[:50], memory)
    with pytest.raises(BudgetError):
        list(model.generate(memory, logits, SamplingParams(max_tokens=5), stop_ids=()))


def test_a_guide_sees_every_token_and_has_the_last_word(model, ids):
    memory = model.new_cache(80)
    logits = model.prefill(ids[:40], memory)
    free = [t.id for t in model.generate(memory, logits, SamplingParams(max_tokens=8), stop_ids=())]
    seen = []

    class Bars:
        def __call__(self, generated, logits, look):
            seen.append(list(generated))
            guided = logits.clone()
            guided[free] = -torch.inf
            return guided

        def forced(self, generated):
            return []

    memory = model.new_cache(80)
    logits = model.prefill(ids[:40], memory)
    params = SamplingParams(max_tokens=8)
    barred = [t.id for t in model.generate(memory, logits, params, stop_ids=(), guide=Bars())]
    assert not set(free) & set(barred)
    assert seen == [barred[:count] for count in range(8)]


@pytest.mark.parametrize("most", [3, 7, 30])
def test_what_a_guide_forces_is_read_and_given_like_any_token(model, ids, most):
    forced = {0: ids[:3], 5: ids[5:6], 9: ids[7:9]}

    class Forces:
        def __call__(self, generated, logits, look):
            return logits

        def forced(self, generated):
            return forced.get(len(generated) - 1, [])

    memory = model.new_cache(80)
    logits = model.prefill(ids[:40], memory)
    params = SamplingParams(max_tokens=most, repetition_penalty=1.5)
    tokens = model.generate(memory, logits, params, stop_ids=(), guide=Forces())
    given = [token.id for token in tokens]
    assert len(given) == most
    assert memory.position == 40 + most
    assert given[1:4] == ids[:3][: most - 1]
    sampler = Sampler(params, model.config.vocab_size)
    for at in range(most):
        start = next((s for s, run in forced.items() if s < at <= s + len(run)), None)
        if start is None:
            assert given[at] == sampler.sample(model.score([*ids[:40], *given[:at]])[-1])
        else:
            assert given[at] == forced[start][at - start - 1]
            sampler.saw([given[at]])


def test_looking_ahead_gives_the_logits_of_a_longer_prompt_and_leaves_no_trace(model, ids):
    memory = model.new_cache(46)
    logits = model.prefill(ids[:40], memory)
    free = [t.id for t in model.generate(memory, logits, SamplingParams(max_tokens=6), stop_ids=())]
    seen, wanted = [], []

    class Looks:
        def __call__(self, generated, logits, look):
            for further in (ids[:2], ids[3:4]):
                seen.append(look(further))
                known = [*ids[:40], *generated, *further]
                fits = len(known) <= 46
                wanted.append(model.score(known)[-1] if fits else None)
            return logits

        def forced(self, generated):
            return []

    memory = model.new_cache(46)
    logits = model.prefill(ids[:40], memory)
    params = SamplingParams(max_tokens=6)
    looked = [t.id for t in model.generate(memory, logits, params, stop_ids=(), guide=Looks())]
    assert looked == free
    assert [logits is None for logits in seen] == [logits is None for logits in wanted]
    for ours, theirs in zip(seen, wanted, strict=True):
        if theirs is not None:
            assert_close(ours, theirs)


def test_sampling_with_a_seed_repeats_itself_and_differs_from_another(model, ids):
    def draw(seed: int) -> list[int]:
        memory = model.new_cache(80)
        logits = model.prefill(ids[:40], memory)
        params = SamplingParams(max_tokens=20, temperature=1.5, seed=seed)
        return [t.id for t in model.generate(memory, logits, params, stop_ids=())]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_ids_outside_the_vocabulary_are_refused(model):
    for wrong in ([5, 1_000_000], [-1]):
        with pytest.raises(UsageError, match="token ids must lie"):
            model.prefill(wrong, model.new_cache(10))
    with pytest.raises(UsageError, match="no tokens"):
        model.prefill([], model.new_cache(10))


@pytest.mark.parametrize("device", ["warp", "cuda:99", "meta", "cuda:x"])
def test_a_device_that_is_not_there_is_a_usage_error(device):
    with pytest.raises(UsageError, match="device"):
        Engine.load(GOLDEN / "odd", device=device)


def test_damaged_weights_are_told_when_they_show():
    model = golden_engine("odd")
    model.model.final_layernorm.weight.data.fill_(float("nan"))
    memory = model.new_cache(20)
    logits = model.prefill([1, 2, 3], memory)
    with pytest.raises(ModelError, match="NaN"):
        list(model.generate(memory, logits, SamplingParams(max_tokens=2)))


def test_reported_bytes_are_those_of_the_parameters(model):
    stored = sum(p.numel() * p.element_size() for p in model.model.parameters())
    assert model.weights_nbytes == stored
    assert torch.isfinite(model.score([1, 2, 3])).all()
