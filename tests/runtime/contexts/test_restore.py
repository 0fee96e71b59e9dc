"""What is restored is what was computed: the same bits at every checkpoint."""

from __future__ import annotations

import pytest
import torch

from runtime.contexts import Mark
from runtime.devices import Precision
from runtime.engine import Engine
from runtime.ops.attention import cpu, reference
from tests.helpers import GOLDEN, GOLDEN_NAMES, golden, golden_engine
from tests.runtime.contexts.reading import read, same_bits, uninterrupted

MARKS = [Mark(position, f"file-{position}") for position in range(5, 150, 11)]


def check_every_checkpoint(engine, ids, store, chunk, tail=(3, 1, 4, 1, 5)):
    """Saves a prompt, then goes on from each of its checkpoints with another tail."""
    first, cache = read(engine, ids, store, chunk_tokens=chunk, marks=MARKS)
    (context,) = store.contexts()
    stops = [segment.end for segment in context.segments]
    logits, oracle = uninterrupted(engine, ids, stops, chunk)
    assert (first.reused, first.computed, first.notes) == (0, len(ids), ())
    assert torch.equal(first.logits, logits)
    assert same_bits(cache, oracle)
    again, cache = read(engine, ids, store, chunk_tokens=chunk)
    assert (again.reused, again.computed) == (len(ids), 0)
    assert torch.equal(again.logits, logits)
    assert same_bits(cache, oracle)
    for stop in stops[:-1] if len(stops) < 20 else stops[:-1:9]:
        changed = [*ids[:stop], *tail]
        if changed[: len(ids)] == ids[: len(changed)]:
            continue
        branch, cache = read(engine, changed, store, chunk_tokens=chunk, save=False)
        logits, oracle = uninterrupted(engine, changed, [s for s in stops if s <= stop], chunk)
        assert branch.reused == stop
        assert torch.equal(branch.logits, logits)
        assert same_bits(cache, oracle)
    return stops


@pytest.mark.parametrize("chunk", [1, 7, 64, 33])
@pytest.mark.parametrize("name", GOLDEN_NAMES)
def test_every_checkpoint_of_every_shape(name, chunk, store):
    stops = check_every_checkpoint(golden_engine(name), golden(name)[0], store, chunk)
    assert len(stops) >= 3


@pytest.mark.parametrize("activations", [torch.bfloat16, torch.float32], ids=str)
def test_caches_and_weights_of_narrow_numbers(activations, ids, store, monkeypatch):
    monkeypatch.setattr(cpu, "attention", reference.attention)  # the CPU's wants fp32
    precision = Precision(activations, torch.bfloat16)
    engine = Engine.load(GOLDEN / "default", device="cpu", precision=precision)
    check_every_checkpoint(engine, ids, store, 9)


@pytest.mark.parametrize("chunk", [7, 33, 64])
@pytest.mark.parametrize("scheme", ["int8", "fp8", "nf4"])
def test_every_scheme(scheme, chunk, ids, store):
    engine = Engine.load(GOLDEN / "default", device="cpu", scheme=scheme)
    assert engine.scheme == scheme
    check_every_checkpoint(engine, ids, store, chunk)


def test_the_embedded_model(store):
    engine = Engine.load("nano", device="cpu")
    generator = torch.Generator().manual_seed(7)
    ids = torch.randint(0, engine.config.vocab_size, (150,), generator=generator).tolist()
    check_every_checkpoint(engine, ids, store, 64)


def test_generation_goes_on_as_if_nothing_had_come_between(engine, ids, store):
    from runtime.sampling import SamplingParams

    def tokens(prefilled, cache):
        params = SamplingParams(max_tokens=12)
        steps = engine.generate(cache, prefilled.logits, params, stop_ids=())
        return [token.id for token in steps]

    assert tokens(*read(engine, ids, store)) == tokens(*read(engine, ids, store))


def test_a_chunk_ends_at_every_stop_and_the_next_begins_there(engine, ids):
    ends = []
    cache = engine.new_cache(150)
    engine.prefill(ids[:10], cache)
    engine.prefill(
        ids[10:60],
        cache,
        chunk_tokens=16,
        stops=[5, 10, 31, 33, 60, 999],
        on_chunk=lambda done, total, cache: ends.append((done, total, cache.position)),
    )
    assert ends == [(16, 50, 26), (21, 50, 31), (23, 50, 33), (39, 50, 49), (50, 50, 60)]


def test_progress_counts_what_was_restored(engine, ids, store):
    read(engine, ids[:100], store)
    seen = []
    read(engine, ids, store, on_chunk=lambda done, total, _: seen.append((done, total)))
    assert seen[0][0] > 100
    assert seen[-1] == (150, 150)
    assert {total for _, total in seen} == {150}


def test_a_longer_prompt_than_the_cache_is_refused(engine, ids, store):
    from runtime.contexts import prefill_saved
    from runtime.errors import BudgetError

    with pytest.raises(BudgetError):
        prefill_saved(engine, ids, engine.new_cache(100), store)
