"""The thread that ends a process which a signal has not ended."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress

import pytest

from jamba_cli import interrupts
from jamba_cli.interrupts import INTERRUPTED, Watch


@pytest.fixture
def ended(monkeypatch):
    """Exit codes of forced exits; each ends the thread instead of this process."""
    codes: list[int] = []

    def leave(code: int) -> None:
        codes.append(code)
        raise SystemExit

    monkeypatch.setattr(interrupts, "GRACE_S", 0.05)
    monkeypatch.setattr(os, "_exit", leave)
    return codes


def after_ctrl_c(watch: Watch) -> None:
    """Runs the thread on one Ctrl-C for some graces."""
    read_end, write_end = os.pipe()

    def look() -> None:
        with suppress(SystemExit):
            interrupts._watch(read_end, threading.Event(), watch, lambda *_: None)

    thread = threading.Thread(target=look)
    thread.start()
    os.write(write_end, bytes([signal.SIGINT]))
    time.sleep(0.3)
    os.close(write_end)
    thread.join()


def test_a_ctrl_c_that_nothing_answers_ends_the_process(ended):
    after_ctrl_c(Watch())
    assert ended == [INTERRUPTED]


def test_a_ctrl_c_that_was_taken_before_the_thread_looked_ends_nothing(ended):
    watch = Watch(staying=True)
    with pytest.raises(KeyboardInterrupt):
        watch._interrupt(signal.SIGINT, None)
    watch.staying = False  # left at once
    after_ctrl_c(watch)
    assert ended == []


def test_a_ctrl_c_of_long_ago_does_not_save_the_next(ended):
    watch = Watch(stayed_at=time.monotonic() - 10)
    after_ctrl_c(watch)
    assert ended == [INTERRUPTED]
