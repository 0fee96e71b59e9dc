from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.thinking import ThinkingFilter, split_thinking, strip_thinking

PIECES = st.lists(
    st.sampled_from(["<think>", "</think>", "</", "think>", "<", " ", "\n\n", "a", "bc", "é"]),
    max_size=20,
)


@pytest.mark.parametrize(
    ("text", "inside", "thought", "answer"),
    [
        ("plan\n</think>\n\nAnswer", True, "plan", "Answer"),
        ("<think>\nplan</think>Answer\n", False, "plan", "Answer\n"),
        ("Answer", False, "", "Answer"),
        ("  Answer", False, "", "  Answer"),
        ("cut off in the mid", True, "cut off in the mid", ""),
        ("</think>Answer", True, "", "Answer"),
        ("plan</think>quotes </think> and <think>", True, "plan", "quotes </think> and <think>"),
        ("It writes <think> tags </think>", False, "", "It writes <think> tags </think>"),
        ("two\n\nparts </think>", True, "two\n\nparts", ""),
        ("almost </thin", True, "almost </thin", ""),
        ("<thin", False, "", "<thin"),
        ("", False, "", ""),
        ("", True, "", ""),
    ],
)
def test_thought_and_answer_are_separated(text, inside, thought, answer):
    assert split_thinking(text, inside=inside) == (thought, answer)
    assert strip_thinking(text, inside=inside) == answer


@given(pieces=PIECES, inside=st.booleans())
def test_pieces_give_what_the_whole_gives(pieces, inside):
    part = ThinkingFilter(inside=inside)
    pairs = [*map(part.push, pieces), part.flush()]
    streamed = ("".join(pair[0] for pair in pairs), "".join(pair[1] for pair in pairs))
    assert streamed == split_thinking("".join(pieces), inside=inside)


def test_it_streams():
    part = ThinkingFilter(inside=True)
    assert part.push("\nI see a") == ("I see a", "")
    assert part.thinking
    assert part.push(" cat </th") == (" cat", "")
    assert part.push("ink>\n\nThe") == ("", "The")
    assert not part.thinking
    assert part.push(" cat.") == ("", " cat.")
    assert part.flush() == ("", "")
