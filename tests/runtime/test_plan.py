"""The memory plan: what it counts is what is allocated, and what it picks or names fits."""

from __future__ import annotations

import logging
import re

import pytest
import torch

from runtime import memory
from runtime.config import JambaConfig
from runtime.devices import EXACT, Precision
from runtime.engine import Engine
from runtime.errors import MemoryFitError
from runtime.plan import CHUNK_TOKENS, LEAST_CHUNK_TOKENS, Planner, candidates, choose
from runtime.quantization import named
from runtime.shapes import shape
from tests.helpers import GOLDEN, golden
from tests.tiny_model import SHAPE

BF16 = Precision(torch.bfloat16, torch.bfloat16)
GB = 1_000_000_000


def planner(name: str, gigabytes: float) -> Planner:
    return Planner(shape(name), "cuda", BF16, int(gigabytes * GB))


@pytest.mark.parametrize("scheme", ["none", "int8", "fp8", "nf4"])
@pytest.mark.parametrize("name", ["default", "dense-tied", "odd"])
def test_weights_cache_and_state_are_counted_to_the_byte(name, scheme):
    engine = Engine.load(
        GOLDEN / name, device="cpu", precision=EXACT, scheme=scheme, context=300, keep=()
    )
    plan, cache = engine.setup.plan, engine.new_cache(300)
    assert plan.weights == engine.weights_nbytes
    assert plan.state == cache.ssm_nbytes
    assert plan.kv_cache + plan.state == cache.nbytes
    parts = (plan.weights, plan.kv_cache, plan.state, plan.workspace, plan.headroom)
    assert plan.total == sum(parts)


@pytest.mark.parametrize(
    ("scheme", "weights"), [("none", 103.2), ("int8", 52.3), ("fp8", 52.3), ("nf4", 30.0)]
)
def test_mini_on_80_gb(scheme, weights):
    plan = planner("mini", 80).best(named(scheme), 262_144, None)
    assert plan.weights / GB == pytest.approx(weights, rel=0.005)
    assert plan.kv_cache == 262_144 * 16_384
    assert plan.fits == (scheme != "none")
    if plan.fits:
        assert plan.chunk_tokens == CHUNK_TOKENS["cuda"]


def test_keeping_mamba_costs_its_projections():
    plans = planner("mini", 80)
    kept = plans.plan(named("int8", ("head", "mamba")), 4096, 1024).weights
    every = plans.plan(named("int8"), 4096, 1024).weights
    projections = 28 * 3 * 4096 * 8192  # in (two halves) and out, of 28 layers
    scales = 28 * 4 * (2 * 8192 + 4096)
    assert kept - every == projections - scales


@pytest.mark.parametrize(
    ("gigabytes", "wanted"), [(120, "none"), (80, "fp8"), (50, "nf4")], ids=str
)
def test_the_first_scheme_that_fits_is_picked(gigabytes, wanted):
    plans = planner("mini", gigabytes)
    plan, option = choose(plans, list(candidates("cuda")), 262_144, None, "mini")
    assert plan.scheme == wanted
    assert option == named(wanted)
    assert plan.fits


@pytest.mark.parametrize(
    ("units", "names"), [(False, "none int8 nf4"), (True, "none w8a8 int8 nf4")]
)
def test_on_a_cpu_nothing_is_rounded_unasked_but_to_what_it_multiplies(monkeypatch, units, names):
    monkeypatch.setattr("runtime.plan.multiplies_int8", lambda: units)
    assert [q.scheme.name if q else "none" for q in candidates("cpu")] == names.split()


def test_the_chunk_shrinks_before_a_setting_is_refused():
    roomy = planner("mini", 80).best(named("nf4"), 262_144, None)
    tight = planner("mini", (roomy.total - 1) / GB).best(named("nf4"), 262_144, None)
    assert tight.fits
    assert LEAST_CHUNK_TOKENS <= tight.chunk_tokens == roomy.chunk_tokens // 2
    with pytest.raises(MemoryFitError, match="nf4"):
        choose(planner("mini", (roomy.total - 1) / GB), [named("nf4")], 262_144, 16_384, "mini")


@pytest.mark.parametrize(
    ("name", "gigabytes", "scheme", "chunk"),
    [
        ("mini", 80, "none", None),
        ("mini", 55, "int8", None),
        ("mini", 34, "nf4", None),
        ("mini", 38, "nf4", 16_384),
        ("large", 80, "nf4", None),
        ("3b", 5, "none", None),
        ("mini", 24, "fp8", None),
    ],
)
def test_a_refusal_names_a_setting_that_fits_or_says_that_none_does(name, gigabytes, scheme, chunk):
    plans = planner(name, gigabytes)
    with pytest.raises(MemoryFitError) as caught:
        choose(plans, [named(scheme)], 262_144, chunk, name)
    assert caught.value.exit_code == 5
    assert f"{name} in scheme {scheme} with 262,144 tokens" in caught.value.message
    hint = caught.value.hint
    if hint.startswith("no scheme fits"):
        assert not any(plans.longest_context(option, None) for option in candidates("cuda"))
        return
    for way in hint.removeprefix("this fits: ").split(", or "):
        flags = dict(re.findall(r"--(\S+) (\S+)", way))
        option = named(flags.get("scheme", scheme))
        asked = int(flags["chunk-tokens"]) if "chunk-tokens" in flags else None
        assert plans.best(option, int(flags.get("context", 262_144)), asked).fits, way


def test_the_longest_context_is_the_longest():
    plans = planner("mini", 55)
    tokens = plans.longest_context(named("int8"), None)
    assert 0 < tokens < 262_144
    assert plans.best(named("int8"), tokens, None).fits
    assert not plans.best(named("int8"), tokens + 1024, None).fits


def test_loading_sees_what_others_have_taken(monkeypatch):
    whole = Engine.load(GOLDEN / "default", device="cpu", precision=EXACT, context=100)
    assert whole.scheme == "none"
    plan = whole.setup.plan
    smallest = plan.total - plan.workspace  # with room for weights, but for no whole chunk
    monkeypatch.setattr(memory, "free_bytes", lambda device: smallest)
    with pytest.raises(MemoryFitError, match="cpu has"):
        Engine.load(GOLDEN / "default", device="cpu", precision=EXACT, context=100)


def test_a_scheme_is_picked_by_what_is_free_on_a_cpu_too(monkeypatch):
    monkeypatch.setattr("runtime.plan.multiplies_int8", lambda: False)
    config = JambaConfig.from_dict(SHAPE | {"hidden_size": 512, "intermediate_size": 2048})
    plans = Planner(config, "cpu", EXACT, 10**12)
    enough = plans.best(named("int8"), 1000, None).total
    monkeypatch.setattr(memory, "free_bytes", lambda device: enough)
    monkeypatch.setattr("runtime.loading.pick_precision", lambda config, device: EXACT)
    engine = Engine.random(config, device="cpu", context=1000)
    assert engine.scheme == "int8"
    assert torch.isfinite(engine.score([1, 2, 3])).all()


def test_a_chunk_shrinks_in_mid_document_and_says_so(monkeypatch, caplog):
    engine = Engine.load(GOLDEN / "default", device="cpu", precision=EXACT)
    ids = golden("default")[0] * 8  # 1,200 tokens
    wanted = engine.prefill(ids, engine.new_cache(1200))
    sizes, calls = [], iter([10**12])
    little = engine._workspace(300)
    monkeypatch.setattr(memory, "free_bytes", lambda device: next(calls, little))
    with caplog.at_level(logging.WARNING):
        logits = engine.prefill(
            ids,
            engine.new_cache(1200),
            chunk_tokens=600,
            on_chunk=lambda done, total, cache: sizes.append(done),
        )
    assert sizes == [600, 900, 1200]
    assert "reading 300 tokens at a time instead of 600" in caplog.text
    assert torch.allclose(logits, wanted, atol=1e-3)


@pytest.mark.parametrize("scheme", ["int8", "fp8", "nf4"])
def test_random_quantized_weights_keep_numbers_of_ordinary_size(scheme):
    config = JambaConfig.from_dict(
        SHAPE | {"num_experts": 4, "hidden_size": 64, "intermediate_size": 128}
    )
    engine = Engine.random(config, device="cpu", scheme=scheme)
    logits = engine.score(list(range(100)))
    assert engine.scheme == scheme
    assert engine.setup.plan.weights == engine.weights_nbytes
    assert torch.isfinite(logits).all()
    assert 0.2 < logits.std() < 20


@pytest.mark.parametrize(
    ("limit", "used", "free"), [("max", "5", None), ("1000", "700", 400), ("1000", "1200", 0)]
)
def test_a_container_s_limit_is_respected(tmp_path, monkeypatch, limit, used, free):
    monkeypatch.setattr(memory, "CONTROL_GROUP", tmp_path)
    unlimited = memory.free_bytes(torch.device("cpu"))
    for name, text in {"max": limit, "current": used, "stat": "anon 9\ninactive_file 100"}.items():
        (tmp_path / f"memory.{name}").write_text(f"{text}\n")
    found = memory.free_bytes(torch.device("cpu"))
    assert found == free if free is not None else found > unlimited / 2
