"""Everything that docs/benchmarks.md says, measured in one session on a GPU.

    python -m tests.benchmarks.gpu_session results.jsonl [--budget-s 400] [--only fp8:read]

Every figure is a line of the file as soon as it is there; what fails or has no time left is a line
too, and the rest goes on.  Lines are added to what the file holds, and the last one of a key
counts, so a session can be made in pieces.  `tests.benchmarks.write_benchmarks` makes the page.
The groups are fp8, int8, nf4, 3b and peer; contexts and start take long and are run only when
they are named with --only, which takes a group, a kind (fp8:read) or a task (fp8:read:8192).
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from tests.benchmarks.session_plan import LENGTHS, ON_DEMAND, Group, groups

MISSING = "missing"

GRACE_S = 60
"""A process that runs so much longer than it was given hangs, and is ended."""


def main() -> None:
    """Runs the groups one after the other, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--budget-s", type=float, default=400.0)
    parser.add_argument("--only", action="append", default=[], metavar="GROUP[:KIND[:TOKENS]]")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--shape", help="in the place of all shapes, to try this out")
    parser.add_argument("--lengths", type=int, nargs="+", default=list(LENGTHS))
    options = parser.parse_args()
    started = time.monotonic()
    record(options.results, {"key": "machine", **machine(options.device)})
    wanted = [g for g in groups(tuple(options.lengths)) if is_wanted(g, options.only)]
    for number, group in enumerate(wanted):
        left = options.budget_s - (time.monotonic() - started)
        reserve = sum(later.must_s for later in wanted[number + 1 :])
        print(f"{group.name}: {left:.0f} s left", flush=True)
        if left < group.must_s / 2:
            note(options.results, group.name, f"not run: {left:.0f} s were left")
        elif group.script:
            run_script(group, options, left)
        else:
            run_engine(group, options, left, reserve)
    print(f"{time.monotonic() - started:.0f} s in all", flush=True)


def is_wanted(group: Group, only: list[str]) -> bool:
    """Whether a group is named, or is one that is always run."""
    if only:
        return group.name in {each.split(":")[0] for each in only}
    return group.name not in ON_DEMAND


def run_engine(group: Group, options: argparse.Namespace, left: float, reserve: float) -> None:
    """One engine's tasks."""
    command = [sys.executable, "-m", "tests.benchmarks.session_group", group.name]
    command += ["--results", str(options.results), "--device", options.device]
    command += ["--left-s", str(left), "--reserve-s", str(reserve)]
    command += ["--lengths", *map(str, options.lengths)]
    command += ["--shape", options.shape] if options.shape else []
    for each in options.only:
        command += ["--only", each]
    try:
        done = subprocess.run(command, timeout=left + GRACE_S)
    except subprocess.TimeoutExpired:
        note(options.results, group.name, "stopped: it ran on past the time that was left")
        return
    if done.returncode:
        note(options.results, group.name, f"the process ended with {done.returncode}")


def run_script(group: Group, options: argparse.Namespace, left: float) -> None:
    """A benchmark of its own, which prints one JSON object."""
    command = [sys.executable, "-m", f"tests.benchmarks.{group.script}", "--json"]
    command += ["--device", options.device]
    if options.shape:
        command += ["--shape", options.shape, group.size_option, str(max(options.lengths))]
    try:
        done = subprocess.run(command, timeout=left + GRACE_S, capture_output=True, text=True)
    except subprocess.TimeoutExpired:
        note(options.results, group.name, "stopped: it ran on past the time that was left")
        return
    try:
        values = json.loads(done.stdout)
    except ValueError:
        note(options.results, group.name, (done.stderr or done.stdout)[-600:].strip())
        return
    record(options.results, {"key": group.name, **values})


def note(results: Path, key: str, problem: str) -> None:
    """Records what went wrong and says it."""
    print(f"{key}: {problem}", flush=True)
    record(results, {"key": key, "error": problem})


def record(results: Path, values: dict[str, Any]) -> None:
    """Adds a line."""
    with results.open("a", encoding="utf-8") as file:
        file.write(json.dumps(values) + "\n")


def machine(device: str) -> dict[str, str]:
    """What the figures were made on, and when."""
    versions = {name: version(name) for name in ("torch", "triton", "transformers")}
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "python": platform.python_version(),
        "command": "python -m tests.benchmarks.gpu_session " + " ".join(sys.argv[1:]),
        **(card() if device.startswith("cuda") else {"card": f"{platform.machine()} CPU"}),
        "processor": f"{os.cpu_count()} x {processor()}",
        **versions,
        "mamba-ssm": mamba_ssm(),
    }


def card() -> dict[str, str]:
    """The GPU's name, its driver and its memory, as the driver says."""
    fields = "name,driver_version,memory.total,power.limit"
    query = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        return {"card": f"unknown: {error}"}
    name, driver, size, power = (each.strip() for each in done.stdout.splitlines()[0].split(","))
    return {"card": name, "driver": driver, "card_memory": size, "power_limit": power}


def processor() -> str:
    """The processor's name, which bounds what is read from disk."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def version(package: str) -> str:
    """The version of an installed package, or that it is missing."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return MISSING


def mamba_ssm() -> str:
    """Its version; the compiled extension is often there without the package."""
    found = version("mamba-ssm")
    if found == MISSING and importlib.util.find_spec("selective_scan_cuda") is not None:
        return "selective_scan_cuda without the package"
    return found


if __name__ == "__main__":
    main()
