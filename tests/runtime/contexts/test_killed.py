"""Processes that are killed at random moments lose no finished context and leave no wrong one."""

from __future__ import annotations

from tests.benchmarks.kill_contexts import kill_repeatedly


def test_killed_again_and_again(tmp_path):
    seen = kill_repeatedly(tmp_path, kills=8, seed=1)
    assert seen.problems == []
    assert seen.kills == 8
    assert seen.answers > 0
    assert seen.reused > 0
