"""Ctrl-C and SIGTERM: clean up for a moment, then stop, whatever the process is busy with.

Python runs a signal's handler only between bytecodes, and one matrix product of a long prefill
can take seconds.  So a thread is told of the signal too: when the clean stop has not come after
`GRACE_S`, or a second signal arrives, it ends the process.
"""

from __future__ import annotations

import math
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

GRACE_S = 0.8
INTERRUPTED = 130
TERMINATED = 143


class Terminated(BaseException):
    """SIGTERM arrived; like KeyboardInterrupt, not an Exception that a library may swallow."""


@dataclass
class Watch:
    """What has arrived: the exit code of the first signal, None before one.

    `told` says that the user was told of the stop; `stayed_at` when a Ctrl-C last came that was
    meant for what was being done only.
    """

    code: int | None = None
    told: bool = False
    staying: bool = False
    stayed_at: float = -math.inf

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self.staying:
            self.stayed_at = time.monotonic()
        else:
            self.code = self.code or INTERRUPTED
        raise KeyboardInterrupt

    def stays(self, arrived: float) -> bool:
        """Whether a Ctrl-C of that time is not to end the process.

        The handler may have run, and what it interrupted be left, before the thread looks.
        """
        return self.staying or self.stayed_at >= arrived - GRACE_S

    def _terminate(self, _number: int, _frame: FrameType | None) -> None:
        self.code = self.code or TERMINATED
        raise Terminated

    def install(self) -> Callable[[], None]:
        """Listens for both signals; returns what undoes it."""
        old_int = signal.getsignal(signal.SIGINT)
        old_term = signal.signal(signal.SIGTERM, self._terminate)
        # A parent such as nohup may have turned Ctrl-C off; then it stays off.
        if old_int is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._interrupt)

        def undo() -> None:
            signal.signal(signal.SIGTERM, old_term)
            signal.signal(signal.SIGINT, old_int)

        return undo


_current = Watch()


@contextmanager
def staying() -> Iterator[None]:
    """Inside it Ctrl-C is a KeyboardInterrupt and no more: the caller catches it and goes on.

    The process is not ended when that takes its time.  SIGTERM ends it as ever.
    """
    before, _current.staying = _current.staying, True
    try:
        yield
    finally:
        _current.staying = before


@contextmanager
def watched(before_exit: Callable[[int, bool], None], *, leaving: bool) -> Iterator[Watch]:
    """Bounds the time from a signal to the end; `before_exit(exit_code, told)` comes
    before a forced stop.

    `leaving` says that the process ends after this.  Then Ctrl-C can't disturb its shutdown, and
    a shutdown after a signal is bounded too.  Outside the main thread, where Python has no
    signals, this does nothing.
    """
    global _current
    watch = _current = Watch()
    if threading.current_thread() is not threading.main_thread():
        yield watch
        return
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    undo = watch.install()
    old_fd = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    done = threading.Event()
    watcher = threading.Thread(
        target=_watch, args=(read_end, done, watch, before_exit), name="jamba-signals", daemon=True
    )
    watcher.start()
    try:
        yield watch
    finally:
        if leaving:
            signal.signal(signal.SIGINT, signal.SIG_IGN if watch.code else signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        else:
            done.set()
            signal.set_wakeup_fd(old_fd)
            undo()
            os.close(write_end)  # the watcher reads the end of the pipe and leaves
            watcher.join(timeout=GRACE_S)


def _watch(
    read_end: int,
    done: threading.Event,
    watch: Watch,
    before_exit: Callable[[int, bool], None],
) -> None:
    codes = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: TERMINATED}
    try:
        while data := os.read(read_end, 1):
            code = codes.get(signal.Signals(data[0]))
            arrived = time.monotonic()
            if code is None or (code == INTERRUPTED and watch.stays(arrived)):
                continue
            again, _, _ = select.select([read_end], [], [], GRACE_S)
            if code == INTERRUPTED and watch.stays(arrived):
                continue
            if done.is_set() or (again and not os.read(read_end, 1)):
                return
            before_exit(code, watch.told)
            os._exit(code)
    finally:
        os.close(read_end)
