"""Where checkpoints are put: often enough to lose little, seldom enough to cost little."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.contexts.records import Mark

EVERY = 8_192
"""Tokens between checkpoints where nothing begins."""

MIN_DISTANCE = 2_048
"""Tokens at least from one checkpoint to the next."""

STATE_SHARE = 4
"""States take at most this part of what keys and values take, one in ..."""

FEWEST = 4
"""... but so many checkpoints a prompt may always have, if they are MIN_DISTANCE apart."""


def choose(
    tokens: int,
    marks: Sequence[Mark],
    *,
    start: int = 0,
    kv_bytes_per_token: int,
    state_bytes: int,
    chunk_tokens: int,
) -> dict[int, str]:
    """Positions of checkpoints past `start`, itself one, and what begins there; the end is last.

    The first mark past the least distance is taken, and where there is none for long, a place
    between.  A slow device, which reads small chunks, gets them closer.  Apart from very short
    prompts the choice up to a place depends only on the marks up to there, so that a changed tail
    leaves the checkpoints before it where they were.
    """
    shortest = min(MIN_DISTANCE, max(1, chunk_tokens // 2))
    affordable = -(-STATE_SHARE * state_bytes // max(1, kv_bytes_per_token))
    distance = max(shortest, min(affordable, tokens // FEWEST))
    every = max(distance, min(EVERY, 2 * chunk_tokens))
    chosen: dict[int, str] = {}
    last = start
    for mark in sorted((m for m in marks if start < m.position < tokens), key=lambda m: m.position):
        while mark.position - last > every:
            last += every
            chosen[last] = ""
        if mark.position - last >= distance:
            last = mark.position
            chosen[last] = mark.label
    while tokens - last > every:
        last += every
        chosen[last] = ""
    chosen[tokens] = next((m.label for m in marks if m.position == tokens), "")
    return chosen
