"""Measures the tasks of one group with one engine; a process of its own, started by gpu_session.

A kernel that fails can leave a GPU's context useless: what comes after it in this process is then
recorded as failed too, and the next group has a new process.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as the command line does, before torch

import torch

from jamba_cli.show_profile import ceilings_json, profile_json
from runtime.bench import Reading
from runtime.engine import Engine
from runtime.profiling import measure_ceilings, profile_step
from runtime.shapes import shape
from tests.benchmarks.session_plan import DECODE_TOKENS, Group, Task, groups


def append(results: Path, key: str, **values: Any) -> None:
    """Writes one line at once: what comes later may take the process down."""
    with results.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"key": key, **values}) + "\n")


def attempt(results: Path, key: str, work: Callable[[], dict[str, Any]]) -> bool:
    """Records what the work gives, or why it failed."""
    started = time.monotonic()
    try:
        values = work()
    except Exception as error:  # noqa: BLE001  whatever fails, the others are still to be measured
        words = f"{type(error).__name__}: {error}".strip()
        append(results, key, error=words[:600], took_s=time.monotonic() - started)
        print(f"{key}: {words[:300]}", flush=True)
        return False
    append(results, key, **values, took_s=time.monotonic() - started)
    shown = {name: value for name, value in values.items() if not isinstance(value, list | dict)}
    print(f"{key}: {shown}", flush=True)
    return True


class Measuring:
    """One engine and the tasks that it is for."""

    def __init__(self, group: Group, device: str, results: Path) -> None:
        self.group, self.device, self.results = group, device, results
        self.engine: Engine | None = None
        self.ceilings: Any = None

    def open(self) -> dict[str, Any]:
        """Makes the weights."""
        context = max(task.tokens for task in self.group.tasks) + DECODE_TOKENS
        started = time.perf_counter()
        self.engine = Engine.random(
            shape(self.group.shape),
            device=self.device,
            scheme=self.group.scheme,
            context=context,
        )
        if self.engine.device.type == "cuda":
            torch.cuda.synchronize()
        assert self.engine.setup is not None
        plan = asdict(self.engine.setup.plan)
        return {
            "make_s": time.perf_counter() - started,
            "weights_bytes": self.engine.weights_nbytes,
            "chunk_tokens": self.engine.chunk_tokens,
            "plan": plan,
        }

    def read(self, task: Task) -> None:
        """Prefill, decode and memory of one length: three records, so that none hides another."""
        assert self.engine is not None
        name, found = self.group.name, {}

        def prefill() -> dict[str, Any]:
            reading = Reading(self.engine, task.tokens, decode_tokens=DECODE_TOKENS)
            found["reading"] = reading
            found["prefill"] = reading.prefill(task.repeats)
            return {"tokens": task.tokens, "seconds": found["prefill"]}

        def decode() -> dict[str, Any]:
            found["decode"] = found["reading"].decode(3)
            return {"tokens": task.tokens, "steps": DECODE_TOKENS, "seconds": found["decode"]}

        def memory() -> dict[str, Any]:
            taken = found["reading"].measurement(found["prefill"], found["decode"])
            return {"tokens": task.tokens, "planned_bytes": taken.planned,
                    "device_peak_bytes": taken.device_peak,
                    "device_reserved_bytes": taken.device_reserved}  # fmt: skip

        if attempt(self.results, f"{name}:prefill:{task.tokens}", prefill) and attempt(
            self.results, f"{name}:decode:{task.tokens}", decode
        ):
            attempt(self.results, f"{name}:memory:{task.tokens}", memory)
        found.clear()
        self.tidy()

    def profile(self, task: Task) -> None:
        """The last chunk of a prompt and a decode step after it."""
        assert self.engine is not None
        engine, chunk = self.engine, min(self.engine.chunk_tokens, task.tokens)

        def rates() -> dict[str, Any]:
            self.ceilings = measure_ceilings(engine, chunk)
            return ceilings_json(self.ceilings)

        def step(past: int, new: int) -> Callable[[], dict[str, Any]]:
            return lambda: profile_json(profile_step(engine, self.ceilings, past, new))

        name = f"{self.group.name}:profile"
        if attempt(self.results, f"{self.group.name}:ceilings", rates):
            past = task.tokens - chunk
            attempt(self.results, f"{name}:chunk:{task.tokens}", step(past, chunk))
            attempt(self.results, f"{name}:step:{task.tokens}", step(task.tokens, 1))
        self.tidy()

    def tidy(self) -> None:
        """Gives back what the last task held."""
        gc.collect()
        if self.engine is not None and self.engine.device.type == "cuda":
            torch.cuda.empty_cache()


def chosen(group: Group, only: list[str]) -> Iterator[Task]:
    """The tasks whose key begins with one of the given; all if none are given."""
    for task in group.tasks:
        key = task.key(group.name)
        if not only or any(key == each or key.startswith(f"{each}:") for each in only):
            yield task


def main() -> None:
    """Measures one group; what there is no time for is recorded as not run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("group")
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--shape")
    parser.add_argument("--lengths", type=int, nargs="+", required=True)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--left-s", type=float, required=True)
    parser.add_argument("--reserve-s", type=float, default=0.0)
    options = parser.parse_args()
    started = time.monotonic()
    (group,) = (g for g in groups(tuple(options.lengths)) if g.name == options.group)
    if options.shape:
        group = replace(group, shape=options.shape)
    measuring = Measuring(group, options.device, options.results)
    if not attempt(options.results, f"{group.name}:weights", measuring.open):
        return
    for task in chosen(group, options.only):
        left = options.left_s - (time.monotonic() - started)
        needed = task.estimate_s + (0 if task.must else options.reserve_s)
        if needed > left:
            why = f"not run: {left:.0f} s were left, {needed:.0f} s were thought to be needed"
            append(options.results, task.key(group.name), skipped=why)
            print(f"{task.key(group.name)}: {why}", flush=True)
            continue
        getattr(measuring, task.kind)(task)


if __name__ == "__main__":
    main()
