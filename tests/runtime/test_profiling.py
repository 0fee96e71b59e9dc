"""Profiles: every part is found, nothing is left in the model, a kernel goes to who launched it."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
import torch

import runtime.model
from jamba_cli.show_profile import rows
from runtime.bench import Reading, measure
from runtime.devices import EXACT
from runtime.engine import Engine
from runtime.profiling import PartTime, Profile, measure_ceilings, profile_step
from runtime.profiling.floors import loads
from runtime.profiling.parts import marked
from runtime.profiling.timing import attribute, part_times
from runtime.shapes import shape
from runtime.weights import build
from tests.helpers import GOLDEN

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def engine():
    return Engine.load(GOLDEN / "default", device="cpu")


def test_every_part_is_found_and_the_model_is_left_as_it_was(engine):
    ids = list(range(1, 40))
    before = engine.prefill(ids, engine.new_cache(64))
    operations = runtime.model.selective_scan, runtime.model.attention, runtime.model.causal_conv
    cache, started = engine.new_cache(64), time.perf_counter()
    times = part_times(engine.model, CPU, lambda: engine.prefill(ids, cache))
    whole = time.perf_counter() - started
    assert times.seconds.keys() == loads(engine, 0, 39).keys()
    assert 0 < sum(times.seconds.values()) < whole
    now = runtime.model.selective_scan, runtime.model.attention, runtime.model.causal_conv
    assert now == operations
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in engine.model.modules())
    assert torch.equal(engine.prefill(ids, engine.new_cache(64)), before)


def test_parts_are_closed_when_a_pass_fails(engine):
    class Depth:
        open = 0

        def enter(self, part):
            self.open += 1

        def leave(self):
            self.open -= 1

    depth = Depth()
    with pytest.raises(AttributeError), marked(engine.model, depth):
        engine.model(torch.zeros(3, dtype=torch.long), None)
    with pytest.raises(RuntimeError), marked(engine.model, depth):
        engine.model(torch.zeros(3, 3, dtype=torch.long), engine.new_cache(8))
    assert depth.open == 0


def test_a_profile_has_floors_and_a_rest(engine):
    ceilings = measure_ceilings(engine, 64)
    assert min(ceilings.flop, ceilings.bytes, ceilings.exponentials) > 0
    for past, new in ((0, 33), (33, 1)):
        profile = profile_step(engine, ceilings, past, new, repeats=1)
        parts = sum(part.seconds for part in profile.parts)
        assert profile.rest_s == pytest.approx(profile.step_s - parts)
        assert profile.floor_s > 0


def test_the_work_of_the_mini_shape():
    engine = Engine(build(shape("mini")), CPU, EXACT)
    new = 1024
    work = loads(engine, 0, new)
    products = sum(load.flop for part, load in work.items() if part not in ("attention", "head"))
    dropped = 2 * (2 * 3 * 4096 * 14_336 + 8192 * 4096)  # the last layer's experts and out_proj
    assert products / new == pytest.approx(23.14e9 - dropped * (new - 1) / new, rel=0.001)
    assert loads(engine, 3072, 1024)["attention"].flop == pytest.approx(
        4 * 4 * 4096 * (4096**2 - 3072**2) / 2, rel=0.001
    )
    one = loads(engine, 262_144, 1)  # fp32 here: twice the bytes of bf16
    assert one["attention"].nbytes == pytest.approx(2 * 4.29e9, rel=0.01)
    weights = [load.nbytes for part, load in one.items() if part != "attention"]
    assert sum(weights) == pytest.approx(4 * 11.84e9, rel=0.01)  # active and the head


def test_a_last_layer_of_any_kind_works_for_one_row(engine):
    config, past, new = engine.config, 100, 50
    mamba = loads(engine, past, new)
    kinds = config.layer_kinds
    swapped = replace(config, layer_kinds=(*kinds[:4], kinds[-1], *kinds[5:-1], kinds[4]))
    attention = loads(Engine(build(swapped), CPU, EXACT), past, new)
    h, p, one = config.num_heads, config.head_dim, past + new
    all_pairs = new * past + new * (new + 1) / 2
    assert mamba["attention"].flop == 4 * h * p * all_pairs
    assert attention["attention"].flop == 4 * h * p * one
    assert attention["dense mlp"].flop < mamba["dense mlp"].flop
    assert attention["moe"].flop > mamba["moe"].flop
    assert loads(engine, past, 1)["moe"].flop * new > mamba["moe"].flop


def test_a_kernel_belongs_to_the_innermost_part_that_launched_it():
    def note(name, start, end):
        return {"cat": "user_annotation", "name": name, "ts": start, "dur": end - start}

    def launch(number, at):
        return {"cat": "cuda_runtime", "name": "l", "ts": at, "args": {"correlation": number}}

    def kernel(number, name, dur):
        return {"cat": "kernel", "name": name, "ts": 900 + number, "dur": dur,
                "args": {"correlation": number}}  # fmt: skip

    events = [
        note("part: head", 0, 100), note("part: elementwise", 10, 90), note("part: scan", 20, 30),
        note("part: norms", 30, 40), note("other", 31, 33),
        launch(1, 5), launch(2, 12), launch(3, 25), launch(4, 32), launch(5, 60), launch(6, 95),
        kernel(1, "a", 1), kernel(2, "b", 2), kernel(3, "c", 4), kernel(4, "d", 8),
        kernel(5, "b", 16), kernel(6, "e", 32),
    ]  # fmt: skip
    times = attribute(events)
    wanted = {"head": 33e-6, "elementwise": 18e-6, "scan": 4e-6, "norms": 8e-6}
    assert times.seconds == pytest.approx(wanted)
    assert times.kernels["elementwise", "b"].count == 2


def test_a_measurement_decodes_at_the_end_of_the_prompt(engine):
    reading = Reading(engine, 50, decode_tokens=4, chunk_tokens=20)
    reading.prefill(1)
    first = reading.cache.snapshot()
    reading.decode(2)
    assert reading.cache.position == 50
    for now, then in zip(reading.cache.mamba_states, first.mamba, strict=True):
        assert torch.equal(now.ssm, then[1])
    result = measure(engine, 50, decode_tokens=4, chunk_tokens=20, repeats=1)
    assert (result.prompt_tokens, result.decode_tokens) == (50, 4)
    assert result.planned > engine.weights_nbytes


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is visible")
def test_on_a_gpu_every_part_has_its_kernels():
    engine = Engine.load(GOLDEN / "default", device="cuda")
    ceilings = measure_ceilings(engine, 64)
    for past, new in ((0, 33), (33, 1)):
        profile = profile_step(engine, ceilings, past, new, repeats=1)
        assert all(part.seconds > 0 for part in profile.parts)
        assert profile.launches >= len(profile.parts)
        assert {kernel.part for kernel in profile.kernels} <= {p.part for p in profile.parts}
    reading = Reading(engine, 50, decode_tokens=4, chunk_tokens=20)
    result = reading.measurement(reading.prefill(1), reading.decode(1))
    assert engine.weights_nbytes < result.device_peak <= result.device_reserved


def test_a_step_faster_than_its_parts_shows_no_gap():
    part = PartTime("moe", 0.5, 0.25, "bandwidth")
    profile = Profile(past=9, new=1, step_s=0.4, parts=(part,))
    assert profile.rest_s == pytest.approx(-0.1)
    assert rows(profile)[-2] == ("launch gaps, rest", "0.00", "0 %", "", "", "")
