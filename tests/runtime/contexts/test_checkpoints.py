"""Where checkpoints are put."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.contexts import Mark
from runtime.contexts.checkpoints import EVERY, MIN_DISTANCE, choose

MINI = {"kv_bytes_per_token": 16_384, "state_bytes": 16_000_000, "chunk_tokens": 16_384}
NANO = {"kv_bytes_per_token": 15_364, "state_bytes": 875_520, "chunk_tokens": 1_024}


@pytest.fixture(autouse=True)
def many_checkpoints():
    """The defaults."""


def test_without_marks_they_are_at_even_distances():
    assert list(choose(30_000, [], **MINI)) == [8_192, 16_384, 24_576, 30_000]
    assert list(choose(5_000, [], **NANO)) == [2_048, 4_096, 5_000]
    assert list(choose(8_192, [], **MINI)) == [8_192]
    assert list(choose(1, [], **MINI)) == [1]


def test_marks_are_taken_where_they_are_far_enough_apart():
    marks = [Mark(0, "head"), Mark(500, "a"), Mark(5_000, "b"), Mark(6_000, "c"), Mark(30_000, "d")]
    chosen = choose(40_000, marks, **MINI)
    assert chosen == {5_000: "b", 13_192: "", 21_384: "", 29_576: "", 37_768: "", 40_000: ""}
    assert choose(40_000, [Mark(40_000, "end")], **MINI)[40_000] == "end"
    assert 500 not in choose(8_000, marks, **NANO)
    assert 500 not in chosen
    assert choose(8_000, [Mark(600, "a")], **NANO)[600] == "a"


def test_from_a_checkpoint_on_the_choice_is_the_same():
    marks = [Mark(p, str(p)) for p in range(0, 100_000, 700)]
    whole = choose(100_000, marks, **MINI)
    for start in list(whole)[:-1]:
        rest = choose(100_000, marks, start=start, **MINI)
        assert rest == {p: label for p, label in whole.items() if p > start}


@given(
    st.integers(1, 300_000),
    st.lists(st.integers(0, 300_000), max_size=200),
    st.sampled_from([MINI, NANO]),
)
def test_states_stay_within_their_budget(tokens, positions, model):
    chosen = list(choose(tokens, [Mark(p, "x") for p in positions], **model))
    assert chosen[-1] == tokens
    assert chosen == sorted(set(chosen))
    gaps = [b - a for a, b in zip([0, *chosen[:-1]], chosen, strict=True)]
    assert max(gaps) <= max(EVERY, MIN_DISTANCE)
    shortest = min(MIN_DISTANCE, model["chunk_tokens"] // 2)
    assert all(gap >= shortest for gap in gaps[:-1])
    states = (len(chosen) - 1) * model["state_bytes"]
    assert len(chosen) <= 5 or states <= tokens * model["kv_bytes_per_token"] / 4


@given(st.lists(st.integers(0, 60_000), max_size=100), st.integers(40_000, 60_000))
def test_a_changed_tail_moves_no_checkpoint_before_it(positions, tokens):
    head = [Mark(p, "x") for p in positions if p < 30_000]
    tail = [Mark(p, "x") for p in positions if p >= 30_000]
    one = [p for p in choose(60_000, head + tail, **MINI) if p < 30_000]
    other = [p for p in choose(tokens, head, **MINI) if p < 30_000]
    assert one == other
