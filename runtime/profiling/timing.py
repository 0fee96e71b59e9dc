"""The time of each part: on a CPU by the clock, on a GPU by the kernels that each part launches.

Events around the parts would count a GPU's waiting for its next launch, of which a decode step is
full; the profiler's trace has the duration of every kernel and when it was launched.
"""

from __future__ import annotations

import json
import tempfile
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from runtime.errors import JambaError
from runtime.model import JambaModel
from runtime.profiling.parts import Part, marked

_PREFIX = "part: "
_ON_DEVICE = ("kernel", "gpu_memcpy", "gpu_memset")
_LAUNCHES = ("cuda_runtime", "cuda_driver")


@dataclass(slots=True)
class Kernel:
    """A kernel by its name: how often it ran in a part and how long in all."""

    name: str
    part: str
    count: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class Times:
    """Seconds a part; on a GPU the kernels that they are made of."""

    seconds: dict[str, float] = field(default_factory=dict)
    kernels: dict[tuple[str, str], Kernel] = field(default_factory=dict)

    def add(self, part: str, seconds: float, kernel: str = "") -> None:
        """Counts time, and the kernel that took it."""
        self.seconds[part] = self.seconds.get(part, 0.0) + seconds
        if kernel:
            known = self.kernels.setdefault((part, kernel), Kernel(kernel, part))
            known.count += 1
            known.seconds += seconds


def part_times(model: JambaModel, device: torch.device, work: Callable[[], object]) -> Times:
    """Does the work once and says where its time went; raises JambaError if no kernel is seen."""
    if device.type != "cuda":
        clock = _Clock()
        with marked(model, clock):
            work()
        return clock.times
    trace = _traced(model, device, work)
    times = attribute(trace)
    if not times.kernels:
        raise JambaError(
            "the profiler saw no kernel on the GPU",
            hint="it needs CUPTI, and no other profiler at the same time",
        )
    return times


class _Clock:
    """Time by the wall clock; an inner part's is not the outer one's."""

    def __init__(self) -> None:
        self.times = Times()
        self._open: list[Part] = []
        self._since = 0.0

    def enter(self, part: Part) -> None:
        self._count()
        self._open.append(part)

    def leave(self) -> None:
        self._count()
        self._open.pop()

    def _count(self) -> None:
        now = time.perf_counter()
        if self._open:
            self.times.add(self._open[-1], now - self._since)
        self._since = now


class _Annotations:
    """Ranges in the profiler's trace."""

    def __init__(self) -> None:
        self._open: list[torch.profiler.record_function] = []

    def enter(self, part: Part) -> None:
        note = torch.profiler.record_function(_PREFIX + part)
        note.__enter__()
        self._open.append(note)

    def leave(self) -> None:
        self._open.pop().__exit__(None, None, None)


def _traced(
    model: JambaModel, device: torch.device, work: Callable[[], object]
) -> list[Mapping[str, Any]]:
    kinds = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with (
        marked(model, _Annotations()),
        torch.profiler.profile(activities=kinds, acc_events=True) as profiler,
    ):
        work()
        torch.cuda.synchronize(device)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(file))
        events: list[Mapping[str, Any]] = json.loads(file.read_bytes())["traceEvents"]
    return events


def attribute(events: Iterable[Mapping[str, Any]]) -> Times:
    """Gives every kernel of a trace to the innermost part in which it was launched.

    `events` are the traceEvents of PyTorch's profiler.  A kernel without a part counts as `head`,
    as what is outside of the layers does.
    """
    ranges, launched, kernels = [], {}, []
    for event in events:
        kind = event.get("cat")
        if kind == "user_annotation" and event["name"].startswith(_PREFIX):
            ranges.append((event["ts"], event["ts"] + event["dur"], event["name"]))
        elif kind in _LAUNCHES and "correlation" in event.get("args", {}):
            launched[event["args"]["correlation"]] = event["ts"]
        elif kind in _ON_DEVICE:
            kernels.append(event)
    borders, owners = _flattened(sorted(ranges, key=lambda each: (each[0], -each[1])))
    times = Times()
    for event in kernels:
        at = launched.get(event.get("args", {}).get("correlation"), event["ts"])
        place = bisect_right(borders, at) - 1
        owner = owners[place] if place >= 0 else ""
        times.add(owner.removeprefix(_PREFIX) or "head", event["dur"] / 1e6, event["name"])
    return times


def _flattened(ranges: list[tuple[float, float, str]]) -> tuple[list[float], list[str]]:
    """Nested ranges as places where the innermost one changes, and which it is from there on."""
    borders: list[float] = []
    owners: list[str] = []
    stack: list[tuple[float, str]] = []

    def close(until: float) -> None:
        while stack and stack[-1][0] <= until:
            end, _ = stack.pop()
            borders.append(end)
            owners.append(stack[-1][1] if stack else "")

    for start, end, name in ranges:
        close(start)
        stack.append((end, name))
        borders.append(start)
        owners.append(name)
    close(float("inf"))
    return borders, owners
