"""What the runtime reports while it works, and who shows it.

The runtime and the sources know only `Reporter`.  On a terminal a bar moves and gives way to one
line when its phase ends; elsewhere there is that line alone; with `--quiet` nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from jamba_cli.human import format_bytes, format_rate, format_seconds
from jamba_cli.output import Output

PhaseName = Literal["read", "tokenize", "load", "prefill", "decode", "download", "quantize"]

MEMORY_LABELS = {
    "weights": "weights",
    "kv_cache": "KV cache",
    "ssm_state": "SSM state",
    "workspace_peak": "workspace peak",
    "host_peak": "host peak",
    "device_peak": "device peak",
}


class Reporter(Protocol):
    """Receives the course of the work; `done` and `total` are absolute, in `unit`s of the phase."""

    def phase(self, name: PhaseName, total: int | None, unit: str) -> None:
        """Begins a phase, and ends the one before; `total` is None while nobody knows it.

        The name of the phase that runs only corrects its total and unit.
        """

    def advance(self, done: int, **detail: object) -> None:
        """How far the phase is; see `Phase.details` for the details that are shown."""

    def finish(self) -> None:
        """Ends the phase; nothing moves on the terminal afterwards."""

    def memory(self, report: Mapping[str, int]) -> None:
        """What was used, in bytes by the keys of `MEMORY_LABELS`."""


@dataclass
class Phase:
    """One phase of the work as far as it has come."""

    name: PhaseName
    total: int | None
    unit: str
    done: int = 0
    detail: dict[str, object] = field(default_factory=dict)
    started: float = field(default_factory=lambda: time.monotonic())

    @property
    def elapsed_s(self) -> float:
        """Seconds since the phase began."""
        return time.monotonic() - self.started

    @property
    def title(self) -> str:
        """The phase's name, and what of several it is about: `prefill window 2/5`."""
        return " ".join(str(text) for text in (self.name, self.detail.get("label")) if text)

    def count(self, number: int) -> str:
        """A number of this phase's units: `4,096 tokens`, `1 page`, `270 MB`."""
        if self.unit == "bytes":
            return format_bytes(number)
        return f"{number:,} {self.unit.removesuffix('s') if number == 1 else self.unit}"

    def rate(self, elapsed_s: float) -> str:
        """The speed so far, of what was not taken from a saved state."""
        reused = self.detail.get("reused")
        fresh = self.done - (reused if isinstance(reused, int) else 0)
        if self.unit == "bytes":
            return f"{format_bytes(fresh / elapsed_s)}/s" if elapsed_s > 0 else "-"
        return f"{format_rate(fresh, elapsed_s)} {self.unit}/s"

    def details(self) -> list[str]:
        """The known details as text: reused, characters, state_bytes, kv_bytes."""
        texts = []
        if reused := self.detail.get("reused"):
            texts.append(f"{reused:,} of them reused")
        if characters := self.detail.get("characters"):
            texts.append(f"{characters:,} characters")
        return texts

    def carried(self, *, short: bool = False) -> str:
        """The state that goes from chunk to chunk, `state 2.1 MB + KV 47 MB`, or nothing.

        `short` adds both up.
        """
        sizes = (("state", self.detail.get("state_bytes")), ("KV", self.detail.get("kv_bytes")))
        known = [(label, size) for label, size in sizes if isinstance(size, int)]
        if short and known:
            return f"carries {format_bytes(sum(size for _, size in known))}"
        return " + ".join(f"{label} {format_bytes(size)}" for label, size in known)

    def summary(self) -> str:
        """The line that remains of a phase."""
        elapsed_s = self.elapsed_s
        counts = ", ".join([self.count(self.done), *self.details()])
        text = f"{self.title}: {counts} in {format_seconds(elapsed_s)}"
        measured = self.unit in ("tokens", "bytes") and self.name != "tokenize"
        if measured and elapsed_s >= 0.05 and self.detail.get("reused") != self.done:
            text += f" ({self.rate(elapsed_s)})"
        return ", ".join(part for part in (text, self.carried()) if part)


class NullReporter:
    """Shows nothing; still stops the work when nobody reads the result."""

    def __init__(self, output: Output | None = None) -> None:
        self.output = output

    def phase(self, name: PhaseName, total: int | None, unit: str) -> None:
        """Nothing."""

    def advance(self, done: int, **detail: object) -> None:
        """BrokenPipeError if the reader of stdout has gone."""
        if self.output is not None:
            self.output.check_reader()

    def finish(self) -> None:
        """Nothing."""

    def memory(self, report: Mapping[str, int]) -> None:
        """Nothing."""


class PlainReporter:
    """One line when a phase ends; memory with `--verbose`."""

    def __init__(self, output: Output) -> None:
        self.output = output
        self.current: Phase | None = None

    def phase(self, name: PhaseName, total: int | None, unit: str) -> None:
        """Begins a phase, and ends the one before."""
        if self.current is not None and self.current.name == name:
            self.current.total, self.current.unit = total, unit
            return
        self.finish()
        self.current = Phase(name, total, unit)

    def advance(self, done: int, **detail: object) -> None:
        """Remembers how far the phase is; a detail stays until it is replaced.

        Raises BrokenPipeError if the reader of stdout has gone, so that no long work is in vain.
        """
        self.output.check_reader()
        if self.current is not None:
            self.current.done = done
            self.current.detail.update(detail)

    def finish(self) -> None:
        """Prints the phase's line."""
        if self.current is not None:
            self.output.note(self.current.summary())
        self.current = None

    def memory(self, report: Mapping[str, int]) -> None:
        """One line with `--verbose`."""
        self.finish()
        if pairs := memory_pairs(report):
            self.output.detail("memory: " + ", ".join(f"{key} {value}" for key, value in pairs))


def memory_pairs(report: Mapping[str, int]) -> list[tuple[str, str]]:
    """The entries of a memory report that were measured, as labels and sizes."""
    return [
        (label, format_bytes(report[key]))
        for key, label in MEMORY_LABELS.items()
        if report.get(key)
    ]


def make_reporter(output: Output, *, progress: bool = True, term: str | None = None) -> Reporter:
    """The reporter for this terminal; `progress=False` is `--no-progress`, `term` else $TERM."""
    term = os.environ.get("TERM") if term is None else term
    if output.quiet:
        return NullReporter(output)
    if not progress or not output.stderr_is_tty or term == "dumb":
        return PlainReporter(output)
    from jamba_cli.progress_bar import BarReporter

    return BarReporter(output)
