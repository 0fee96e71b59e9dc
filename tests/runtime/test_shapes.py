"""Released shapes with random weights, and the memory that is asked for before they are made."""

from __future__ import annotations

import pytest
import torch

from runtime import memory
from runtime.bench import measure
from runtime.config import JambaConfig
from runtime.devices import EXACT, Precision
from runtime.engine import Engine
from runtime.errors import MemoryFitError, UsageError
from runtime.shapes import random_model, shape
from runtime.weights import weights_bytes
from tests.tiny_model import SHAPE

BF16 = Precision(torch.bfloat16, torch.bfloat16)


def test_bytes_of_the_shapes_are_their_published_parameters_in_bf16():
    # A, D and dt_bias are held in fp32: 18 numbers a channel of the 28 and 26 Mamba layers.
    assert weights_bytes(shape("mini"), BF16) == 2 * 51_570_323_328 + 2 * 28 * 8192 * 18
    assert weights_bytes(shape("3b"), BF16) == 2 * 3_029_337_472 + 2 * 26 * 5120 * 18


def test_an_unknown_shape_is_named():
    with pytest.raises(UsageError, match="'huge'"):
        shape("huge")


def test_random_weights_keep_numbers_of_ordinary_size():
    config = JambaConfig.from_dict(SHAPE | {"num_experts": 4})
    model = random_model(config, torch.device("cpu"), EXACT)
    logits = Engine(model, torch.device("cpu"), EXACT).score(list(range(100)))
    assert torch.isfinite(logits).all()
    assert 0.2 < logits.std() < 20
    again = random_model(config, torch.device("cpu"), EXACT)
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True)
    )


def test_a_model_that_does_not_fit_is_refused_before_it_is_made(monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda device: 20_000_000_000)
    with pytest.raises(MemoryFitError, match=r"103\.\d GB, cpu has 20\.0 GB free"):
        Engine.random(shape("mini"), device="cpu", scheme="none")
    monkeypatch.setattr(memory, "free_bytes", lambda device: 10)
    with pytest.raises(MemoryFitError, match=r"cpu has 0\.0 GB free"):
        Engine.random(JambaConfig.from_dict(SHAPE), device="cpu")


def test_a_measurement_counts_what_it_was_asked_for():
    engine = Engine.random(JambaConfig.from_dict(SHAPE), device="cpu")
    result = measure(engine, 50, decode_tokens=4, chunk_tokens=16, repeats=1)
    assert (result.prompt_tokens, result.decode_tokens) == (50, 4)
    assert result.prefill_rate == pytest.approx(50 / result.prefill_s)
    assert result.decode_rate == pytest.approx(4 / result.decode_s)
