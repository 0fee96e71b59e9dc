from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.errors import ModelError, UsageError
from runtime.sampling import FIRST_CANDIDATES, Sampler, SamplingParams, candidates, penalized


def brute_force(logits: list[float], params: SamplingParams) -> dict[int, float]:
    """The filtered distribution by definition, one token after another, in Python floats."""
    scaled = [value / params.temperature for value in logits]
    highest = max(scaled)
    weights = [math.exp(value - highest) for value in scaled]
    order = sorted(range(len(weights)), key=lambda number: (-weights[number], number))
    if params.top_k:
        order = order[: params.top_k]
    total = sum(weights[number] for number in order)
    kept: list[int] = []
    reached = 0.0
    for number in order:
        if reached >= params.top_p and params.top_p < 1:
            break
        kept.append(number)
        reached += weights[number] / total
    kept = [number for number in kept if weights[number] >= params.min_p * weights[order[0]]]
    total = sum(weights[number] for number in kept)
    return {number: weights[number] / total for number in kept}


def filtered(logits: torch.Tensor, params: SamplingParams) -> dict[int, float]:
    ids, kept = candidates((logits / params.temperature).softmax(-1), params)
    places = range(len(kept)) if ids is None else ids.tolist()
    shares = (kept.double() / kept.double().sum()).tolist()
    return {number: share for number, share in zip(places, shares, strict=True) if share > 0}


@settings(max_examples=300, deadline=None)
@given(
    tenths=st.lists(st.integers(-60, 60), min_size=1, max_size=30),
    temperature=st.sampled_from([0.3, 1.0, 1.7]),
    top_k=st.integers(0, 35),
    top_p=st.sampled_from([0.1, 0.37, 0.61, 0.903, 0.9991, 1.0]),
    min_p=st.sampled_from([0.0, 0.0513, 0.317, 1.0]),
)
def test_the_filters_keep_exactly_the_right_tokens(tenths, temperature, top_k, top_p, min_p):
    params = SamplingParams(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    logits = [tenth / 10 for tenth in tenths]
    expected = brute_force(logits, params)
    found = filtered(torch.tensor(logits), params)
    assert found.keys() == expected.keys()
    assert all(math.isclose(found[number], expected[number], rel_tol=1e-4) for number in found)


@pytest.mark.parametrize("spread", [0.01, 1.0, 4.0])
@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(temperature=1, top_p=0.9),
        SamplingParams(temperature=1, top_k=FIRST_CANDIDATES + 500, top_p=0.95),
        SamplingParams(temperature=1, top_k=50, min_p=0.2),
        SamplingParams(temperature=1, top_p=0.5, min_p=0.01),
    ],
)
def test_a_large_vocabulary_is_filtered_as_a_small_one(params, spread):
    logits = torch.randn(20_000, generator=torch.Generator().manual_seed(3)) * spread
    expected = brute_force(logits.tolist(), params)
    found = filtered(logits, params)
    # Sums of 20,000 values in fp32 and fp64 may disagree about one token at the edge.
    assert len(found.keys() ^ expected.keys()) <= 1
    assert max(abs(found[n] - expected[n]) for n in found.keys() & expected.keys()) < 1e-6


@pytest.mark.parametrize("size", [7, 50_000])
def test_of_equally_likely_tokens_the_lower_ids_stay(size):
    params = SamplingParams(temperature=1, top_k=3)
    logits = torch.zeros(size)
    logits[5] = 1
    assert filtered(logits, params).keys() == {5, 0, 1}


def test_draws_follow_the_distribution():
    params = SamplingParams(temperature=0.8, top_p=0.9, seed=1)
    logits = torch.tensor([1.0, 2.0, 0.0, -1.0, 1.5, -4.0])
    expected = brute_force(logits.tolist(), params)
    sampler = Sampler(params, 6)
    draws = [sampler.sample(logits) for _ in range(4000)]
    assert set(draws) == expected.keys()
    for number, share in expected.items():
        spread = math.sqrt(share * (1 - share) / 4000)
        assert abs(draws.count(number) / 4000 - share) < 4 * spread


def test_draws_without_filters_follow_the_distribution():
    params = SamplingParams(temperature=1, seed=2)
    logits = torch.tensor([0.0, math.log(3), -math.inf, math.log(6)])
    sampler = Sampler(params, 4)
    draws = [sampler.sample(logits) for _ in range(4000)]
    assert [round(draws.count(number) / 4000, 1) for number in range(4)] == [0.1, 0.3, 0.0, 0.6]
    assert 2 not in draws


@pytest.mark.parametrize("number", [0.0, 0.5, 1 - 2**-53])
def test_a_token_of_no_probability_is_never_drawn(number):
    sampler = Sampler(SamplingParams(temperature=1), 4)
    sampler._random.random = lambda: number
    logits = torch.tensor([-math.inf, 0.0, 0.0, -math.inf])
    assert sampler.sample(logits) == (1 if number < 0.5 else 2)


def test_a_seed_repeats_and_another_differs():
    logits = torch.zeros(1000)

    def run(seed: int | None) -> list[int]:
        sampler = Sampler(SamplingParams(temperature=1, seed=seed), 1000)
        return [sampler.sample(logits) for _ in range(20)]

    assert run(5) == run(5)
    assert run(5) != run(6)
    assert run(None) != run(None)
    assert len(set(run(5))) > 10


def test_temperature_zero_is_the_likeliest_token_whatever_the_filters():
    params = SamplingParams(temperature=0, top_k=1, top_p=0.1, min_p=1.0)
    assert Sampler(params, 3).sample(torch.tensor([0.1, 0.3, 0.2])) == 1


def test_a_tiny_temperature_does_not_overflow():
    sampler = Sampler(SamplingParams(temperature=1e-37, seed=0), 3)
    assert {sampler.sample(torch.tensor([9e4, 1e5, -1e5])) for _ in range(20)} == {1}


def test_the_repetition_penalty_lowers_what_was_seen():
    logits = torch.tensor([2.0, 1.9, -1.0, -1.1])
    seen = torch.tensor([True, False, True, False])
    assert penalized(logits, seen, 2.0).tolist() == pytest.approx([1.0, 1.9, -2.0, -1.1])
    assert penalized(logits, None, 2.0) is logits


def test_the_penalty_counts_what_was_drawn_and_the_prompt():
    logits = torch.tensor([2.0, 1.9, 1.8, -5.0])
    params = SamplingParams(repetition_penalty=2.0)
    sampler = Sampler(params, 4)
    assert [sampler.sample(logits) for _ in range(4)] == [0, 1, 2, 0]
    sampler = Sampler(params, 4, "cpu", [0, 1, 1])
    assert [sampler.sample(logits) for _ in range(2)] == [2, 0]
    assert logits.tolist() == pytest.approx([2.0, 1.9, 1.8, -5.0])
    with pytest.raises(UsageError, match="prompt_ids"):
        Sampler(params, 4, "cpu", [4])


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize(
    ("bad", "message"),
    [(math.nan, "NaN"), (math.inf, "infinite")],
)
def test_broken_logits_are_said_to_be_broken(temperature, bad, message):
    sampler = Sampler(SamplingParams(temperature=temperature, repetition_penalty=1.1), 3)
    with pytest.raises(ModelError, match=message):
        sampler.sample(torch.tensor([1.0, bad, 2.0]))


def test_all_tokens_impossible_or_the_wrong_shape_is_an_error():
    with pytest.raises(ModelError, match="infinite"):
        Sampler(SamplingParams(), 2).sample(torch.tensor([-math.inf, -math.inf]))
    with pytest.raises(ModelError, match=r"shape \(1, 2\)"):
        Sampler(SamplingParams(), 2).sample(torch.zeros(1, 2))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", 0),
        ("max_tokens", 1.5),
        ("max_tokens", True),
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("top_p", "0.9"),
        ("top_k", -1),
        ("top_k", 2.0),
        ("min_p", -0.1),
        ("min_p", 1.1),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", math.inf),
        ("seed", "1"),
        ("stop", "text"),
        ("stop", ("",)),
        ("stop", ("a", 1)),
    ],
)
def test_a_field_that_makes_no_sense_is_named(field, value):
    with pytest.raises(UsageError, match=f"^{field} must be"):
        SamplingParams(**{field: value})


def test_the_defaults_are_greedy():
    params = SamplingParams()
    assert (params.temperature, params.max_tokens, params.stop) == (0.0, 512, ())
