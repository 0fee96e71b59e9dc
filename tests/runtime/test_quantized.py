"""Models with quantized weights: how far the logits move, what is quantized, any chunking."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from quant.experts import QuantExperts
from quant.linear import QuantLinear
from runtime import plan
from runtime.config import JambaConfig
from runtime.devices import EXACT
from runtime.engine import Engine
from runtime.errors import UsageError
from runtime.loading import Source, Wish
from runtime.models import resolve
from runtime.sampling import SamplingParams
from runtime.tokenizer import Tokenizer
from tests.helpers import GOLDEN, assert_close, divergence, golden

# Random models of width 32 are the worst case: nothing averages out.  KL in nats, mean of 150.
LIMITS = {"int8": 0.004, "w8a8": 0.03, "fp8": 0.15, "nf4": 0.15}
MODELS = ("default", "odd", "dense-tied", "narrow", "options")


def load(name: str, scheme: str, keep: tuple[str, ...] = ()) -> Engine:
    return Engine.load(GOLDEN / name, device="cpu", precision=EXACT, scheme=scheme, keep=keep)


@pytest.mark.parametrize("scheme", LIMITS)
@pytest.mark.parametrize("name", MODELS)
def test_logits_stay_near_those_of_transformers(name, scheme):
    ids, wanted = golden(name)
    engine = load(name, scheme)
    moved = divergence(wanted, engine.score(ids)).mean().item()
    assert moved <= LIMITS[scheme]
    codes = [p for n, p in engine.model.named_parameters() if n.endswith("codes")]
    if codes:  # NF4 holds none of the widths of two of these models
        assert moved > 1e-7, "nothing was quantized"
        assert engine.weights_nbytes < load(name, "none").weights_nbytes


@pytest.mark.parametrize("scheme", ["int8", "nf4"])
@pytest.mark.parametrize("chunk", [1, 7, 63, 149])
@pytest.mark.parametrize("name", ["default", "narrow"])
def test_chunked_is_whole_at_any_boundary(name, chunk, scheme):
    ids, _ = golden(name)
    engine = load(name, scheme)
    assert_close(engine.score(ids, chunk_tokens=chunk), engine.score(ids))


@pytest.mark.parametrize(("scheme", "chunk"), [
    ("fp8", 7), ("fp8", 29), ("fp8", 63), ("fp8", 145),
    ("w8a8", 1), ("w8a8", 7), ("w8a8", 63), ("w8a8", 149),
])  # fmt: skip
def test_chunked_is_whole_in_8_bits_up_to_a_rounding_that_flips(scheme, chunk):
    """A last bit of fp32 may push an activation over an edge of its codes, one in thousands."""
    ids, wanted = golden("default")
    engine = load("default", scheme)
    whole = engine.score(ids)
    moved = divergence(whole, engine.score(ids, chunk_tokens=chunk)).mean()
    assert moved <= divergence(wanted, whole).mean() / {"fp8": 20, "w8a8": 10}[scheme]


def test_fp8_reads_few_tokens_more_exactly_than_many():
    ids, wanted = golden("default")
    engine = load("default", "fp8")
    by_one = divergence(wanted, engine.score(ids, chunk_tokens=1)).mean()
    assert by_one < divergence(wanted, engine.score(ids)).mean()


def test_generation_goes_on_from_a_chunked_prefill():
    ids, _ = golden("default")
    engine = load("default", "int8")
    params = SamplingParams(max_tokens=12)
    answers = []
    for chunk in (150, 33):
        cache = engine.new_cache(200)
        logits = engine.prefill(ids, cache, chunk_tokens=chunk)
        answers.append([t.id for t in engine.generate(cache, logits, params, stop_ids=())])
    assert answers[0] == answers[1]


def test_only_what_the_model_allows_is_quantized():
    model = load("default", "int8").model
    quantized = {n for n, m in model.named_modules() if isinstance(m, QuantLinear | QuantExperts)}
    leaves = {name.rpartition(".")[2] for name in quantized}
    assert leaves == {
        "in_proj", "out_proj", "qkv_proj", "o_proj", "gate_up_proj", "down_proj", "experts",
        "lm_head",
    }  # fmt: skip
    for name, parameter in model.named_parameters():
        if not name.endswith(("codes", "scale")):
            assert parameter.dtype == torch.float32, name


@pytest.mark.parametrize(
    ("keep", "gone"),
    [
        (("mamba",), {"in_proj", "out_proj"}),
        (("head", "experts"), {"lm_head", "experts"}),
        (("mlp", "attention"), {"gate_up_proj", "down_proj", "qkv_proj", "o_proj"}),
    ],
)
def test_parts_can_be_kept(keep, gone):
    every, kept = ({
        n for n, m in load("default", "int8", k).model.named_modules()
        if isinstance(m, QuantLinear | QuantExperts)
    } for k in ((), keep))  # fmt: skip
    assert {name.rpartition(".")[2] for name in every - kept} == gone
    assert kept < every


@pytest.mark.parametrize(("scheme", "keep"), [("int7", ()), ("int8", ("router",))])
def test_unknown_schemes_and_parts_are_refused(scheme, keep):
    with pytest.raises(UsageError, match=r"int7|router"):
        load("default", scheme, keep)


@pytest.mark.parametrize(
    ("scheme", "limit"), [("int8", 4e-3), ("w8a8", 2.5e-2), ("fp8", 3e-2), ("nf4", 1e-5)]
)
def test_nano_keeps_its_mind(scheme, limit):
    """nano is in nf4 but for what is stored in int8, which is widened: so it is in memory."""
    text = (Path(__file__).parents[2] / "docs" / "reading-long-documents.md").read_text()
    ids = Tokenizer.load(resolve("nano")).encode(text)[:128]
    plain = Engine.load("nano", device="cpu", precision=EXACT, scheme="none")
    engine = Engine.load("nano", device="cpu", precision=EXACT, scheme=scheme)
    assert divergence(plain.score(ids), engine.score(ids)).mean() <= limit
    assert engine.weights_nbytes == engine.setup.plan.weights < 0.7 * plain.weights_nbytes


def test_layers_that_a_scheme_can_t_hold_are_told(caplog):
    with caplog.at_level(logging.WARNING):
        load("odd", "int8")
        assert not caplog.records
        load("odd", "nf4")
    assert "19 of 19 layers stay in 16 bits: nf4 needs widths that are multiples" in caplog.text


@pytest.mark.parametrize(("units", "scheme"), [(True, "w8a8"), (False, "none")])
def test_nano_is_held_in_8_bits_where_the_cpu_multiplies_them(monkeypatch, units, scheme):
    monkeypatch.setattr(plan, "multiplies_int8", lambda: units)
    engine = Engine.load("nano", device="cpu")
    assert engine.scheme == scheme
    assert engine.model.embed_tokens.dtype == torch.float16


def test_w8a8_is_refused_where_it_can_t_be_computed():
    options = Source("nano", JambaConfig.from_json(resolve("nano")), resolve("nano")).options
    with pytest.raises(UsageError, match="w8a8 is for CPUs"):
        options("cuda", Wish("w8a8"))
    assert options("cuda", Wish())[0] is None
