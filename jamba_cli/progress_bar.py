"""The moving bar on a terminal, with rich; imported only where there is one."""

from __future__ import annotations

from collections.abc import Mapping

from rich.panel import Panel
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from jamba_cli.human import format_bytes
from jamba_cli.output import Output
from jamba_cli.progress import Phase, PhaseName, PlainReporter, memory_pairs
from jamba_cli.terminal import visible

NAME_WIDTH = 8
WIDE = 110


class BarReporter(PlainReporter):
    """A bar while a phase lasts, its line when it ends, and a memory panel at the end.

    The decode phase has no bar where the answer itself appears on the terminal.
    """

    def __init__(self, output: Output) -> None:
        super().__init__(output)
        self._progress: Progress | None = None
        self._task = TaskID(0)

    def phase(self, name: PhaseName, total: int | None, unit: str) -> None:
        """Begins a phase with its bar."""
        before = self.current
        super().phase(name, total, unit)
        assert self.current is not None
        if self.current is before:
            if self._progress is not None:
                self._progress.update(self._task, total=total)
            return
        if name == "decode" and self.output.streams_to_terminal:
            return
        self._progress = _make_bar(self.output, self.current)
        self._task = self._progress.add_task(name, total=total)
        self.output.live = self._progress
        self._progress.start()

    def advance(self, done: int, **detail: object) -> None:
        """Moves the bar; the screen is drawn a few times a second, however often this is called."""
        super().advance(done, **detail)
        if self._progress is not None:
            self._progress.update(self._task, completed=done)

    def finish(self) -> None:
        """Takes the bar away and leaves its line."""
        if self._progress is not None:
            self._progress.stop()
            self.output.live = None
        self._progress = None
        super().finish()

    def memory(self, report: Mapping[str, int]) -> None:
        """One compact panel, three sizes a row."""
        self.finish()
        pairs = memory_pairs(report)
        if not pairs:
            return
        grid = Table.grid(padding=(0, 3))
        for start in range(0, len(pairs), 3):
            grid.add_row(*(Text(f"{label} {size}") for label, size in pairs[start : start + 3]))
        panel = Panel.fit(grid, title="memory", title_align="left", border_style="dim")
        self.output.err_console.print(panel)


def _make_bar(output: Output, phase: Phase) -> Progress:
    width = output.err_console.width
    bar_width = 30 if width >= WIDE else 10
    return Progress(
        TextColumn(f"{{task.description:<{NAME_WIDTH}}}", markup=False),
        BarColumn(bar_width=bar_width),
        _Status(phase, width - NAME_WIDTH - bar_width - 3),
        console=output.err_console,
        transient=True,
        refresh_per_second=8,
        redirect_stdout=False,
        redirect_stderr=False,
    )


class _Status(ProgressColumn):
    """As much of amount, speed, time left and state as fits the width."""

    max_refresh = 0.1

    def __init__(self, phase: Phase, width: int) -> None:
        super().__init__()
        self._phase = phase
        self._width = width

    def render(self, task: Task) -> Text:
        """The text right of the bar."""
        return Text(status_line(self._phase, self._width), no_wrap=True, overflow="ellipsis")


def status_line(phase: Phase, width: int) -> str:
    """The state of a running phase in at most `width` characters, shorter where it must be."""
    pieces = _pieces(phase, short=False)
    if len("  ".join(pieces)) > width:
        pieces = _pieces(phase, short=True)
    while len(pieces) > 1 and len("  ".join(pieces)) > width:
        pieces.pop()
    line = "  ".join(pieces)
    path = visible(str(phase.detail.get("path", "")))
    room = width - len(line) - 2
    if path and room >= 12:
        line += "  " + (path if len(path) <= room else "…" + path[1 - room :])
    return line[:width]


def _pieces(phase: Phase, *, short: bool) -> list[str]:
    """Amount, speed, time left and carried state, the most important first."""
    elapsed_s = phase.elapsed_s
    label = phase.detail.get("label")
    pieces = [str(label)] if label and not short else []
    pieces.append(_amount(phase, short=short))
    if phase.done and phase.unit in ("tokens", "bytes"):
        pieces.append(phase.rate(elapsed_s))
    if phase.total and 0 < phase.done < phase.total:
        left_s = round(elapsed_s / phase.done * (phase.total - phase.done))
        pieces.append(f"eta {left_s // 60}:{left_s % 60:02d}")
    pieces.append(phase.carried(short=short))
    return [piece for piece in pieces if piece]


def _amount(phase: Phase, *, short: bool) -> str:
    if phase.total is None:
        return phase.count(phase.done)
    if phase.unit == "bytes":
        return f"{format_bytes(phase.done)} / {format_bytes(phase.total)}"
    if short:
        return f"{phase.done:,}/{phase.total:,}"
    return f"{phase.done:,} / {phase.total:,} {phase.unit}"
